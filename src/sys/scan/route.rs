//! Going through records that are spelled alike: from a value's end to the next one's, and what lies between is compared.
//!
//! Of a record of a hundred bytes that a search for marks looks at, half are the same in every record. So these are compared, and only
//! values are searched for their ends: both in one window of bytes, where a text and most values fit. Since each place depends on the one
//! before, several records are followed side by side, in as many parts of a stretch.
//!
//! # Invariants
//!
//! 1. AVX2 and BMI1 are used where the processor says that it has them.
//! 2. As many bytes are loaded as the array has whose address is given.
//! 3. A newline ends every value, and only a record's last step passes one: so nothing is searched beyond its line, and who goes from record to
//!    record comes by the beginning of every line.
//! 4. Each part of a stretch but the first begins where a line does, if it is not empty; so who follows the part before it comes by there.

use memchr::memchr;

use super::window;

/// A route through a record: the text before each value, what ends the value, and the text after the last one.
#[derive(Debug)]
pub struct Route {
    steps: Vec<Step>,
    lanes: Box<[Lane; LANES]>,
}

impl Default for Route {
    fn default() -> Self {
        Self { steps: Vec::new(), lanes: Box::new([[0; LANE_MARKS]; LANES]) }
    }
}

/// The marks of a lane's records, step by step. They are a little more than a power of two, so that what lanes write next does not lie in the same places of the cache.
type Lane = [u32; LANE_MARKS];

const LANE_MARKS: usize = (1 << 12) + 80;

/// Bytes that are compared and searched at a time.
const WINDOW_BYTES: usize = 32;

/// How many records are followed side by side.
const LANES: usize = 4;

/// Up to a window of a text, which is compared, and how far it leads: past it, and where a value follows on to its end.
#[derive(Debug)]
struct Step {
    bits: [u8; WINDOW_BYTES],
    mask: [u8; WINDOW_BYTES],
    length: u32,
    value: Option<Ends>,
}

/// What a value ends at.
#[derive(Debug)]
struct Ends {
    /// A byte that its four low bits lead to, twice, as vectors are wide.
    table: [u8; WINDOW_BYTES],
    /// A bit for each byte of the window that begins with the text before the value: whether it is behind that.
    behind_text: u32,
}

impl Ends {
    fn of(bytes: [u8; 2], text_bytes: u32) -> Self {
        // No byte is led to another one's place, and so to none that it is.
        let mut table: [u8; 16] = std::array::from_fn(|low| !low as u8);
        for byte in bytes.into_iter().chain([b'\n']) {
            let place = &mut table[usize::from(byte & 15)];
            assert!([byte, !(byte & 15)].contains(place), "two ends have one place");
            *place = byte;
        }
        let mut twice = [0; WINDOW_BYTES];
        twice[..16].copy_from_slice(&table);
        twice[16..].copy_from_slice(&table);
        Self { table: twice, behind_text: u32::MAX.checked_shl(text_bytes).unwrap_or(0) }
    }

    /// Of each of the bytes a bit, least significant first: whether it is an end.
    fn seek(&self, bytes: &[u8; WINDOW_BYTES]) -> u32 {
        let is_end = |&byte: &u8| byte.is_ascii() && self.table[usize::from(byte & 15)] == byte;
        let bits = bytes.iter().enumerate();
        bits.fold(0, |bits, (index, byte)| bits | u32::from(is_end(byte)) << index)
    }
}

impl Route {
    /// Goes past `text`, which is not empty.
    pub fn past(&mut self, text: &[u8]) {
        self.steps.extend(text.chunks(WINDOW_BYTES).map(|text| {
            let (mut bits, mut mask) = ([0; WINDOW_BYTES], [0; WINDOW_BYTES]);
            bits[..text.len()].copy_from_slice(text);
            mask[..text.len()].fill(u8::MAX);
            Step { bits, mask, length: text.len() as u32, value: None }
        }));
    }

    /// Goes on to the end of a value: the first byte that is one of `ends`.
    ///
    /// # Panics
    ///
    /// If there is no text before it, or ends are alike in their four low bits, with each other or with a newline.
    pub fn to_end_of_value(&mut self, ends: [u8; 2]) {
        let step = self.steps.last_mut().expect("there is text before a value");
        step.value = Some(Ends::of(ends, step.length));
    }

    /// Goes past `text` up to the newline that it ends with.
    pub fn to_newline(&mut self, text: &[u8]) {
        self.past(text);
        self.steps.last_mut().expect("there is at least the newline").length -= 1;
    }

    /// How many positions are noted of a record: where each step leads to. The last one is its newline's.
    pub fn mark_count(&self) -> usize {
        self.steps.len()
    }

    /// Notes records from `from` on that go this way and begin before `until`, and how many they are: `marks` are the newlines before them, then where
    /// the first step leads to in each, and so on. One that fewer than 32 bytes follow may be left out, and what begins far behind the first one.
    ///
    /// # Panics
    ///
    /// If `bytes` are more than positions of 32 bits can tell.
    pub fn records(
        &mut self,
        bytes: &[u8],
        from: usize,
        until: usize,
        marks: &mut Vec<u32>,
    ) -> usize {
        assert!(u32::try_from(bytes.len()).is_ok(), "positions have 32 bits");
        let records = Records { steps: &self.steps, bytes, from: from as u32, until };
        let lanes = &mut self.lanes;
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("bmi1") {
                // SAFETY: invariant 1: the processor has what the function asks for.
                return unsafe { records.note_by_avx2(lanes, marks) };
            }
        }
        records.note_by(lanes, marks, |bytes, ends| ends.seek(bytes))
    }
}

/// Records to be noted.
#[derive(Clone, Copy)]
struct Records<'a> {
    steps: &'a [Step],
    bytes: &'a [u8],
    from: u32,
    until: usize,
}

impl Records<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1")]
    fn note_by_avx2(self, lanes: &mut [Lane; LANES], marks: &mut Vec<u32>) -> usize {
        use std::arch::x86_64::{
            _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_shuffle_epi8,
        };
        let load = |bytes: &[u8; WINDOW_BYTES]| {
            // SAFETY: invariant 2: `bytes` has the 32 bytes that are loaded.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        };
        self.note_by(lanes, marks, |bytes, ends: &Ends| {
            let bytes = load(bytes);
            // Of bytes that are not ASCII it is zero, which they are not.
            let ends = _mm256_shuffle_epi8(load(&ends.table), bytes);
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, ends)).cast_unsigned()
        })
    }

    /// The loop of all ways. While there are records in all lanes, they are followed side by side; then one by one, which is what counts.
    #[inline(always)]
    fn note_by(
        self,
        lanes: &mut [Lane; LANES],
        marks: &mut Vec<u32>,
        seek: impl Fn(&[u8; WINDOW_BYTES], &Ends) -> u32,
    ) -> usize {
        let (parts, room) = (self.parts(), self.lane_records());
        let (mut ats, mut record) = (parts.map(|part| part.0), 0);
        while (0..LANES).all(|lane| ats[lane] < parts[lane].1) && record < room {
            let Some(newlines) = self.follow(ats, lanes, record, &seek) else { break };
            ats = newlines.map(|newline| newline + 1);
            record += 1;
        }
        let mut counts = [0; LANES];
        for (index, ((mut at, (_, end)), lane)) in
            ats.into_iter().zip(parts).zip(&mut *lanes).enumerate()
        {
            let mut record = record;
            while at < end && record < room {
                let lane = std::array::from_mut(lane);
                let Some([newline]) = self.follow([at], lane, record, &seek) else { break };
                at = newline + 1;
                record += 1;
            }
            counts[index] = record;
            if at < end {
                break;
            }
        }
        self.join(lanes, counts, marks)
    }

    /// How many records a lane has room for.
    fn lane_records(self) -> usize {
        LANE_MARKS / self.steps.len()
    }

    /// Puts the first records of all lanes together, so many of each, and tells how many they are.
    fn join(self, lanes: &[Lane; LANES], counts: [usize; LANES], marks: &mut Vec<u32>) -> usize {
        let (room, count) = (self.lane_records(), counts.iter().sum());
        let put = |marks: &mut Vec<u32>, step: usize| {
            for (lane, count) in lanes.iter().zip(counts) {
                marks.extend_from_slice(&lane[step * room..][..count]);
            }
        };
        let last = self.steps.len() - 1;
        // Before a record stands the newline of the one before it.
        marks.clear();
        marks.push(self.from.wrapping_sub(1));
        put(marks, last);
        marks.truncate(count);
        (0..=last).for_each(|step| put(marks, step));
        count
    }

    /// The parts of lanes, from and to: invariant 4.
    fn parts(self) -> [(u32, u32); LANES] {
        let from = self.from as usize;
        let until = self.bytes.len().min(self.until).max(from);
        let behind_newline = |at: usize| {
            let newline = memchr(b'\n', &self.bytes[at..until]);
            newline.map_or(until, |newline| at + newline + 1) as u32
        };
        let start = |lane: usize| match lane {
            0 => self.from,
            LANES => until as u32,
            _ => behind_newline(from + (until - from) * lane / LANES),
        };
        std::array::from_fn(|lane| (start(lane), start(lane + 1)))
    }

    /// Follows the route from each of `ats` on, and notes where its steps lead to, as record `record` of a lane; where the last one does.
    /// `None`: one leads elsewhere.
    #[inline(always)]
    fn follow<const N: usize>(
        self,
        mut ats: [u32; N],
        lanes: &mut [Lane; N],
        record: usize,
        seek: impl Fn(&[u8; WINDOW_BYTES], &Ends) -> u32,
    ) -> Option<[u32; N]> {
        let mut differences = [0; WINDOW_BYTES];
        for (step, place) in self.steps.iter().zip((record..).step_by(self.lane_records())) {
            for at in &mut ats {
                let found: &[u8; WINDOW_BYTES] = window(self.bytes, *at)?;
                for (index, difference) in differences.iter_mut().enumerate() {
                    *difference |= (found[index] ^ step.bits[index]) & step.mask[index];
                }
                *at = match &step.value {
                    None => *at + step.length,
                    Some(ends) => match seek(found, ends) & ends.behind_text {
                        0 => self.seek_on(*at, ends, &seek)?,
                        found => *at + found.trailing_zeros(),
                    },
                };
            }
            for (lane, &at) in lanes.iter_mut().zip(&ats) {
                lane[place] = at;
            }
        }
        (differences == [0; WINDOW_BYTES]).then_some(ats)
    }

    /// Where a value ends that does not in the window at `at`.
    #[inline(always)]
    fn seek_on(
        self,
        mut at: u32,
        ends: &Ends,
        seek: impl Fn(&[u8; WINDOW_BYTES], &Ends) -> u32,
    ) -> Option<u32> {
        loop {
            at += WINDOW_BYTES as u32;
            let found = seek(window(self.bytes, at)?, ends);
            if found != 0 {
                return Some(at + found.trailing_zeros());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts between values, each of which a quote ends or a comma: so it begins what comes next.
    struct Spelling {
        texts: Vec<String>,
        quoted: Vec<bool>,
    }

    impl Spelling {
        fn of(values: &[(String, bool)]) -> Self {
            let quoted: Vec<bool> = values.iter().map(|value| value.1).collect();
            let ends = quoted.iter().map(|&quoted| if quoted { "\"" } else { "," });
            let names = values.iter().map(|value| value.0.as_str()).chain(["}\n"]);
            let texts = std::iter::once("{").chain(ends).zip(names);
            Self { texts: texts.map(|(end, name)| format!("{end}{name}")).collect(), quoted }
        }

        fn route(&self) -> Route {
            let mut route = Route::default();
            for (text, &quoted) in self.texts.iter().zip(&self.quoted) {
                route.past(text.as_bytes());
                route.to_end_of_value(if quoted { [b'"', b'\\'] } else { [b','; 2] });
            }
            route.to_newline(self.texts[self.quoted.len()].as_bytes());
            route
        }

        /// Where the steps of the record at `at` lead to, byte by byte, if it is spelled so.
        fn marks(&self, bytes: &[u8], mut at: usize) -> Option<Vec<u32>> {
            let newline = at + bytes[at..].iter().position(|&byte| byte == b'\n')?;
            let mut marks = Vec::new();
            for (index, text) in self.texts.iter().enumerate() {
                at = bytes[at..].starts_with(text.as_bytes()).then_some(at)?;
                marks.extend(
                    (1..text.len())
                        .filter(|after| after % WINDOW_BYTES == 0)
                        .map(|after| at + after),
                );
                at += text.len();
                let Some(&quoted) = self.quoted.get(index) else { break };
                let is_end = |&byte: &u8| match quoted {
                    true => matches!(byte, b'"' | b'\\'),
                    false => byte == b',',
                };
                at += bytes[at..newline].iter().position(is_end)?;
                marks.push(at);
            }
            marks.push(newline);
            (at == newline + 1).then(|| marks.into_iter().map(|mark| mark as u32).collect())
        }
    }

    proptest! {
        #[test]
        fn records_are_those_that_are_found_byte_by_byte(
            values in prop::collection::vec(("[a-z:]{1,40}", any::<bool>()), 1..4),
            records in prop::collection::vec(prop::collection::vec("[a-z]{0,70}", 3), 1..12),
            damage in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\"\\,\nx".to_vec()))),
            (from, padding) in (0..3usize, 0..80usize),
            stretch_bytes in prop_oneof![Just(usize::MAX / 2), 0..500usize],
        ) {
            let spelling = Spelling::of(&values);
            let mut bytes = vec![b' '; from];
            for texts in &records {
                for (index, text) in spelling.texts.iter().enumerate() {
                    bytes.extend_from_slice(text.as_bytes());
                    bytes.extend_from_slice(if index < values.len() { texts[index].as_bytes() } else { b"" });
                }
            }
            bytes.resize(bytes.len() + padding, b' ');
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (mut route, mut fast, mut plain) = (spelling.route(), vec![7], vec![7]);
            let (until, stride) = (from + stretch_bytes, route.mark_count());
            let (mut at, mut expected) = (from, Vec::new());
            while at < until.min(bytes.len()) && let Some(marks) = spelling.marks(&bytes, at) {
                expected.push([vec![(at as u32).wrapping_sub(1)], marks].concat());
                at = expected[expected.len() - 1][stride] as usize + 1;
            }
            let count = route.records(&bytes, from, until, &mut fast);
            let found = fast.as_slice();
            let by_mark = (0..=stride).flat_map(|mark| expected[..count].iter().map(move |marks| marks[mark]));
            prop_assert_eq!(found, by_mark.collect::<Vec<_>>());
            // What is left out is too near to the end.
            if let Some(left_out) = expected.get(count) {
                prop_assert!(left_out[stride] as usize + WINDOW_BYTES > bytes.len());
            }
            let records = Records { steps: &route.steps, bytes: &bytes, from: from as u32, until };
            let seek = |bytes: &[u8; WINDOW_BYTES], ends: &Ends| ends.seek(bytes);
            prop_assert_eq!(records.note_by(&mut route.lanes, &mut plain, seek), count);
            prop_assert_eq!(plain, found);
        }
    }
}

//! Pairs of a value and a set that wait, partitioned by their hashes: pages that are only appended to, of which one partition after the
//! other is read, in an index of its own pairs alone.
//!
//! The last words of a page's pairs mostly differ in their lowest 16 bits alone. So four pairs share a word for those, and a value of one
//! word takes a quarter more than a word.
//!
//! # Layout
//!
//! ```text
//! page:          head │ block │ block │ …
//! head:          blocks u32 │ high bits of all last words u24, or zeros │ 1 if blocks are wide u8
//! narrow block:  value … │ value … │ value … │ value … │ low 16 bits of four last words
//! wide block:    pair │ pair │ pair │ pair
//! ```
//!
//! # Invariants
//!
//! 1. Equal pairs lie in one partition. A block that has fewer than four pairs has the last one again: whoever has pairs wait here must not
//!    mind how often one is there.
//! 2. Of two pages one after the other in a partition one at least is half full, the last two apart.

use super::array::Array;
use super::buffer::Access;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::saved::Saved;

const PARTITION_BITS: u32 = 7;
/// How many partitions.
pub(super) const PARTITIONS: usize = 1 << PARTITION_BITS;

const BLOCK_PAIRS: usize = 4;
const LOW_BITS: u32 = 16;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
/// The bits that a last word may have.
const LAST_BITS: u32 = 40;

const HIGH_SHIFT: u32 = 32;
const WIDE_SHIFT: u32 = 56;

/// Pairs of `STRIDE` words. Dropping it without [`Partitioned::release`] leaks its pages until the space goes.
#[derive(Debug)]
pub(super) struct Partitioned<const STRIDE: usize> {
    partitions: Vec<Array>,
    /// How many words have been pushed since it was made or loaded; not saved.
    word_count: usize,
}

/// How the pairs of a page lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// These are the high bits of all last words.
    Narrow(u64),
    Wide,
}

/// The first word of a page.
#[derive(Clone, Copy, Debug)]
struct Head {
    form: Form,
    block_count: usize,
}

impl<const STRIDE: usize> Partitioned<STRIDE> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { partitions: (0..PARTITIONS).map(|_| Array::default()).collect(), word_count: 0 }
    }

    /// The partition of a pair with this hash.
    #[inline]
    pub(super) fn partition_of(hash: u64) -> usize {
        (hash >> (u64::BITS - PARTITION_BITS)) as usize
    }

    /// Those that were saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let partitions = (0..PARTITIONS).map(|_| Array::load(saved, pages)).collect();
        Self { partitions, word_count: 0 }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.partitions.iter().for_each(|partition| partition.save(out));
    }

    /// How many words have been pushed since it was made or loaded.
    pub(super) fn word_count(&self) -> usize {
        self.word_count
    }

    /// Appends pairs of one partition.
    ///
    /// # Panics
    ///
    /// If a last word has more than [`LAST_BITS`].
    pub(super) fn push(
        &mut self,
        pages: &mut Pages,
        partition: usize,
        mut pairs: &[[u64; STRIDE]],
    ) {
        let Some(form) = Form::of(pairs) else { return };
        let partition = &mut self.partitions[partition];
        while !pairs.is_empty() {
            let (page, head) = page_for::<STRIDE>(partition, pages, form);
            let room = head.form.page_blocks::<STRIDE>() - head.block_count;
            let (some, rest) = pairs.split_at(pairs.len().min(room * BLOCK_PAIRS));
            let (block_count, block_words) =
                (some.len().div_ceil(BLOCK_PAIRS), head.form.block_words::<STRIDE>());
            let (start, word_count) =
                (1 + head.block_count * block_words, block_count * block_words);
            write_blocks(head.form, some, pages.words_mut(page, start, word_count));
            let head = Head { block_count: head.block_count + block_count, ..head };
            *pages.word_mut(page, 0) = head.word();
            self.word_count += word_count;
            pairs = rest;
        }
    }

    /// Appends the pairs of a partition to `pairs`, in the order in which they were pushed.
    pub(super) fn read(&self, pages: &Pages, partition: usize, pairs: &mut Vec<[u64; STRIDE]>) {
        for page in self.partitions[partition].iter() {
            let (&word, blocks) = pages.get(page).split_first().expect("a page has words");
            let Head { form, block_count } = Head::of(word);
            let blocks = blocks.chunks_exact(form.block_words::<STRIDE>()).take(block_count);
            pairs.reserve(block_count * BLOCK_PAIRS);
            match form {
                Form::Narrow(high) => {
                    blocks.for_each(|block| pairs.extend_from_slice(&narrow_pairs(block, high)))
                }
                Form::Wide => blocks.for_each(|block| pairs.extend_from_slice(block.as_chunks().0)),
            }
        }
    }

    /// Has the disk fetch the pages of a partition, if there is such a one.
    pub(super) fn prefetch(&self, pages: &Pages, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            partition.prefetch(pages);
        }
    }

    /// Frees a partition: it is empty then.
    pub(super) fn release_partition(&mut self, pages: &mut Pages, partition: usize) {
        std::mem::take(&mut self.partitions[partition]).release(pages);
    }

    /// Frees everything.
    pub(super) fn release(mut self, pages: &mut Pages) {
        (0..PARTITIONS).for_each(|partition| self.release_partition(pages, partition));
    }
}

/// The page that pairs of this form are appended to, and its head: the last one, or a new one.
fn page_for<const STRIDE: usize>(
    partition: &mut Array,
    pages: &mut Pages,
    form: Form,
) -> (PageId, Head) {
    let mut form = form;
    if let Some(last) = partition.len().checked_sub(1) {
        let page = partition.page(last);
        let head = Head::of(pages.get(page)[0]);
        let (has, most) = (head.block_count, head.form.page_blocks::<STRIDE>());
        let is_fit = head.form == form || head.form == Form::Wide;
        if is_fit && has < most {
            return (page, head);
        }
        if !is_fit && has * 2 < most {
            // The module's invariant 2.
            form = Form::Wide;
        }
    }
    let page = partition.push_extent(pages, Access::Sequential, PAGE_WORDS);
    (page, Head { form, block_count: 0 })
}

impl Form {
    /// The one for `pairs`; `None`: there are none.
    fn of<const STRIDE: usize>(pairs: &[[u64; STRIDE]]) -> Option<Self> {
        let high = pairs.first()?[STRIDE - 1] >> LOW_BITS;
        let differing =
            pairs.iter().fold(0, |bits, pair| bits | (pair[STRIDE - 1] >> LOW_BITS ^ high));
        assert!((high | differing) >> (LAST_BITS - LOW_BITS) == 0, "a last word has 40 bits");
        Some(if differing == 0 { Self::Narrow(high) } else { Self::Wide })
    }

    /// Words of a block.
    fn block_words<const STRIDE: usize>(self) -> usize {
        match self {
            Self::Narrow(_) => BLOCK_PAIRS * (STRIDE - 1) + 1,
            Self::Wide => BLOCK_PAIRS * STRIDE,
        }
    }

    /// Blocks in a page.
    fn page_blocks<const STRIDE: usize>(self) -> usize {
        (PAGE_WORDS - 1) / self.block_words::<STRIDE>()
    }
}

impl Head {
    fn of(word: u64) -> Self {
        let form = match word >> WIDE_SHIFT {
            0 => Form::Narrow(word >> HIGH_SHIFT),
            _ => Form::Wide,
        };
        Self { form, block_count: word as u32 as usize }
    }

    fn word(self) -> u64 {
        let form = match self.form {
            Form::Narrow(high) => high << HIGH_SHIFT,
            Form::Wide => 1 << WIDE_SHIFT,
        };
        form | self.block_count as u64
    }
}

/// Fills `words` with the blocks of `pairs`.
fn write_blocks<const STRIDE: usize>(form: Form, pairs: &[[u64; STRIDE]], words: &mut [u64]) {
    let (whole, some) = pairs.as_chunks();
    let last = some.last().map(|last| {
        let mut block = [*last; BLOCK_PAIRS];
        block[..some.len()].copy_from_slice(some);
        block
    });
    let blocks =
        whole.iter().chain(&last).zip(words.chunks_exact_mut(form.block_words::<STRIDE>()));
    match form {
        Form::Narrow(_) => blocks.for_each(|(pairs, words)| write_narrow(pairs, words)),
        Form::Wide => blocks.for_each(|(pairs, words)| words.copy_from_slice(pairs.as_flattened())),
    }
}

#[inline]
fn write_narrow<const STRIDE: usize>(pairs: &[[u64; STRIDE]; BLOCK_PAIRS], words: &mut [u64]) {
    let (low, values) = words.split_last_mut().expect("a block has words");
    *low = 0;
    for (index, (pair, value)) in pairs.iter().zip(values.chunks_exact_mut(STRIDE - 1)).enumerate()
    {
        value.copy_from_slice(&pair[..STRIDE - 1]);
        *low |= (pair[STRIDE - 1] & LOW_MASK) << (index as u32 * LOW_BITS);
    }
}

/// The pairs of a narrow block.
#[inline]
fn narrow_pairs<const STRIDE: usize>(block: &[u64], high: u64) -> [[u64; STRIDE]; BLOCK_PAIRS] {
    let (&low, values) = block.split_last().expect("a block has words");
    let mut pairs = [[high << LOW_BITS; STRIDE]; BLOCK_PAIRS];
    for (index, (pair, value)) in pairs.iter_mut().zip(values.chunks_exact(STRIDE - 1)).enumerate()
    {
        pair[..STRIDE - 1].copy_from_slice(value);
        pair[STRIDE - 1] |= low >> (index as u32 * LOW_BITS) & LOW_MASK;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against lists by partition: pairs come back in the order in which they were pushed, but for those that are there again; last
        /// words that have their high bits in common, and others, in turn; saved and loaded on the way.
        #[test]
        fn pairs_come_back(
            pushes in prop::collection::vec((0..2usize, 0..4u64, 0..1u64 << LAST_BITS, 1..3000usize), 0..30),
        ) {
            let (mut pages, mut held) = (Pages::default(), Partitioned::new());
            let mut twin: BTreeMap<usize, Vec<[u64; 3]>> = BTreeMap::new();
            for (partition, kind, last, count) in pushes {
                let last = |n: u64| match kind {
                    0 => last ^ n,
                    1 => last % 70_000 + n,
                    2 => last ^ n << 20 & ((1 << LAST_BITS) - 1),
                    _ => n,
                };
                let pairs: Vec<[u64; 3]> = (0..count as u64).map(|n| [n, !n, last(n)]).collect();
                held.push(&mut pages, partition, &pairs);
                let twin = twin.entry(partition).or_default();
                twin.extend(&pairs);
                let rest = twin.len().next_multiple_of(BLOCK_PAIRS) - twin.len();
                twin.extend(std::iter::repeat_n(pairs[count - 1], rest));
                let mut saved = Vec::new();
                held.save(&mut saved);
                held = Partitioned::load(&mut Saved::new(&saved), &pages);
            }
            for partition in 0..PARTITIONS {
                let mut found = Vec::new();
                held.read(&pages, partition, &mut found);
                prop_assert_eq!(found, twin.remove(&partition).unwrap_or_default());
            }
            held.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }

        /// Invariant 2, whatever comes: what waits takes no more than twice what it would in full wide pages, and a page.
        #[test]
        fn pages_are_half_full(highs in prop::collection::vec((0..3u64, 1..400usize), 1..200)) {
            let (mut pages, mut held) = (Pages::default(), Partitioned::new());
            let mut block_count = 0;
            for (high, count) in highs {
                held.push(&mut pages, 0, &vec![[7, high << LOW_BITS]; count]);
                block_count += count.div_ceil(BLOCK_PAIRS);
            }
            let full = block_count.div_ceil(Form::Wide.page_blocks::<2>());
            prop_assert!(held.partitions[0].len() <= 2 * full + 1);
            held.release(&mut pages);
        }
    }
}

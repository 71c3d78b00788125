//! String columns that point into the bytes they were read from.
//!
//! A decoder reads a chunk of about a megabyte; copying every string out of it would cost as much as
//! finding it. A [`ViewColumn`] stores 16-byte views into the chunk instead. Arrow checks UTF-8 a value
//! at a time; here the chunk is checked once ([`Utf8Buffer`]) and each value only for its edges.
//!
//! # Invariants
//!
//! 1. The bytes of a [`Utf8Buffer`] are valid UTF-8, at most `u32::MAX` of them, and never change.
//! 2. Every view that a [`ViewColumn`] holds was made from a `&str` that lies in buffer 0 (the
//!    `Utf8Buffer`) or in a later buffer (text appended by `push_owned`) at the view's offset, or is inline.
//! 3. Buffers only grow at the end or are sealed, so offsets stay true.
//! 4. x86-64 processors have SSE2; as many bytes are loaded or stored as the array has whose address is given.
//! 5. `Views` writes one view after the other into the room behind the last one.

use std::mem::MaybeUninit;
use std::sync::Arc;

use arrow_array::StringViewArray;
use arrow_array::builder::make_view;
use arrow_buffer::{Buffer, NullBufferBuilder, ScalarBuffer};

use super::scan::window;
use super::vector::{self, Loop};

/// The longest text that a view holds itself, in bytes.
pub const INLINE_BYTES_MAX: usize = 12;

/// A side buffer is sealed before it grows beyond this many bytes.
const SIDE_BYTES_MAX: usize = 1 << 30;

/// Which bytes of a view are text, by the text's length; those after the twelfth are for texts that lie apart.
static TEXT_BYTES: [[u8; 16]; 16] = {
    let mut bytes = [[0; 16]; 16];
    let mut length = 0;
    while length < bytes.len() {
        let mut at = 0;
        while at < if length <= INLINE_BYTES_MAX { length } else { 4 } {
            bytes[length][4 + at] = u8::MAX;
            at += 1;
        }
        length += 1;
    }
    bytes
};

/// The view of the `length` bytes that stand at `offset` of buffer 0 and begin `window`: what `make_view` gives,
/// without a branch on the length.
#[inline(always)]
fn view_of(window: &[u8; 16], length: u32, offset: u32) -> u128 {
    let text_bytes = &TEXT_BYTES[(length as usize).min(INLINE_BYTES_MAX + 1)];
    let apart = if length as usize > INLINE_BYTES_MAX { offset } else { 0 };
    view_from(window, text_bytes, length, apart)
}

/// `length` in the first word, `apart` in the last, and from the second on those of `window`'s bytes that `text_bytes` tells.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn view_from(window: &[u8; 16], text_bytes: &[u8; 16], length: u32, apart: u32) -> u128 {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_loadu_si128, _mm_or_si128, _mm_set_epi32, _mm_slli_si128,
        _mm_storeu_si128,
    };
    let mut view = 0u128;
    // SAFETY: invariant 4: `window`, `text_bytes` and `view` have the sixteen bytes that are loaded or stored.
    unsafe {
        let head = _mm_set_epi32(apart.cast_signed(), 0, 0, length.cast_signed());
        let text = _mm_slli_si128::<4>(_mm_loadu_si128(window.as_ptr().cast()));
        let text = _mm_and_si128(text, _mm_loadu_si128(text_bytes.as_ptr().cast()));
        _mm_storeu_si128((&raw mut view).cast(), _mm_or_si128(text, head));
    }
    view
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn view_from(window: &[u8; 16], text_bytes: &[u8; 16], length: u32, apart: u32) -> u128 {
    let text = u128::from_le_bytes(*window) << 32 & u128::from_le_bytes(*text_bytes);
    text | u128::from(length) | u128::from(apart) << 96
}

/// Whether the byte at `position` goes on with a character, so that no text begins or ends there.
#[inline(always)]
fn is_inside(bytes: &[u8], position: usize) -> bool {
    bytes.get(position).is_some_and(|&byte| byte & 0xc0 == 0x80)
}

/// A buffer whose bytes are known to be UTF-8 (invariant 1). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Utf8Buffer {
    buffer: Buffer,
    /// Whether every character is one byte, so that no range can cut one.
    is_ascii: bool,
}

impl Utf8Buffer {
    /// Checks `buffer` once. Hands it back where it is not UTF-8 or longer than `u32::MAX` bytes.
    pub fn new(buffer: Buffer) -> Result<Self, Buffer> {
        let is_ascii = buffer.chunks(1 << 14).all(|part| vector::widest(IsAscii(part)));
        let is_text = is_ascii || simdutf8::basic::from_utf8(&buffer).is_ok();
        if buffer.len() > u32::MAX as usize || !is_text {
            return Err(buffer);
        }
        Ok(Self { buffer, is_ascii })
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        // SAFETY: invariant 1: `new` checked the bytes, and a `Buffer` is immutable.
        unsafe { std::str::from_utf8_unchecked(&self.buffer) }
    }
}

/// Whether all bytes are ASCII.
struct IsAscii<'a>(&'a [u8]);

impl Loop for IsAscii<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        self.0.iter().fold(0, |all, byte| all | byte).is_ascii()
    }
}

/// Builds a string column of views into a [`Utf8Buffer`].
#[derive(Debug)]
pub struct ViewColumn {
    source: Utf8Buffer,
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    /// Whether a view points into `source`; if none does, the column does not keep it alive.
    uses_source: bool,
    sealed: Vec<Buffer>,
    side: Vec<u8>,
}

impl ViewColumn {
    /// An empty column over `source` with room for `capacity` rows.
    pub fn new(source: Utf8Buffer, capacity: usize) -> Self {
        Self {
            source,
            views: Vec::with_capacity(capacity),
            nulls: NullBufferBuilder::new(capacity),
            uses_source: false,
            sealed: Vec::new(),
            side: Vec::new(),
        }
    }

    /// Appends the texts at these bytes, from and to, of the source, without copying them.
    ///
    /// # Panics
    ///
    /// If a range is out of bounds or cuts a character: a decoder's bug.
    #[inline]
    pub fn extend(&mut self, ranges: impl ExactSizeIterator<Item = (u32, u32)> + Clone) {
        let bytes = self.source.as_str().as_bytes();
        let count = ranges.len();
        // Until the edges are known to be whole characters, nobody can get at the views, whatever panics.
        let mut views = std::mem::take(&mut self.views);
        let before = views.len();
        views.reserve(count);
        // Texts of a column are mostly all short, or not.
        let are_short = self.source.is_ascii
            && !self.uses_source
            && vector::widest(ShortViews { bytes, ranges: ranges.clone(), views: &mut views });
        let longest = match (are_short, self.source.is_ascii) {
            (true, _) => 0,
            (_, true) => vector::widest(Views::<_, false> { bytes, ranges, views: &mut views }),
            (_, false) => vector::widest(Views::<_, true> { bytes, ranges, views: &mut views }),
        };
        assert_eq!(views.len(), before + count, "the ranges are as many as they say");
        self.uses_source |= longest as usize > INLINE_BYTES_MAX;
        self.nulls.append_n_non_nulls(count);
        self.views = views;
    }

    /// Drops all rows from number `count` on.
    pub fn truncate(&mut self, count: usize) {
        self.views.truncate(count);
        self.nulls.truncate(count);
    }

    /// Appends NULL.
    #[inline]
    pub fn push_null(&mut self) {
        self.views.push(0);
        self.nulls.append_null();
    }

    /// Appends text that is not in the source (unescaped, say): copied where it is not inline.
    pub fn push_owned(&mut self, text: &str) {
        if text.len() <= INLINE_BYTES_MAX {
            self.views.push(make_view(text.as_bytes(), 0, 0));
        } else {
            assert!(text.len() <= u32::MAX as usize, "a text of more than 4 GiB");
            if !self.side.is_empty() && self.side.len() + text.len() > SIDE_BYTES_MAX {
                self.sealed.push(Buffer::from_vec(std::mem::take(&mut self.side)));
            }
            let index = 1 + self.sealed.len() as u32;
            self.views.push(make_view(text.as_bytes(), index, self.side.len() as u32));
            self.side.extend_from_slice(text.as_bytes());
        }
        self.nulls.append_non_null();
    }

    /// The column.
    pub fn finish(mut self) -> StringViewArray {
        if !self.side.is_empty() {
            self.sealed.push(Buffer::from_vec(self.side));
        }
        let mut buffers = Vec::with_capacity(1 + self.sealed.len());
        if self.uses_source {
            buffers.push(self.source.buffer);
        } else if !self.sealed.is_empty() {
            buffers.push(Buffer::default());
        }
        buffers.append(&mut self.sealed);
        let (views, buffers) = (ScalarBuffer::from(self.views), Arc::from(buffers));
        // SAFETY: invariant 2: each view names a range of its buffer that was a `&str`, with its true length
        // and prefix (`make_view`, `view_of`), and by invariant 3 it still is; `nulls` got one bit per view.
        unsafe { StringViewArray::new_unchecked(views, buffers, self.nulls.finish()) }
    }
}

/// Writes the view of a text that is followed by too few bytes. Apart, for views that come from here and from [`view_of`] alike would
/// be put together in other registers than a vector's.
#[cold]
#[inline(never)]
fn write_last(view: &mut MaybeUninit<u128>, text: &[u8], offset: u32) {
    view.write(make_view(text, 0, offset));
}

/// Appends the views of ranges of `bytes`, and tells the longest. Where `CHECKED`, ranges may cut characters, and must not.
struct Views<'a, I, const CHECKED: bool> {
    bytes: &'a [u8],
    ranges: I,
    views: &'a mut Vec<u128>,
}

impl<I: Iterator<Item = (u32, u32)>, const CHECKED: bool> Loop for Views<'_, I, CHECKED> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let (bytes, mut longest, mut cut, mut count) = (self.bytes, 0, false, 0);
        for (view, (offset, end)) in self.views.spare_capacity_mut().iter_mut().zip(self.ranges) {
            let text = &bytes[offset as usize..end as usize];
            let length = text.len() as u32;
            longest = longest.max(length);
            if CHECKED {
                cut |= is_inside(bytes, offset as usize) | is_inside(bytes, end as usize);
            }
            match bytes[offset as usize..].first_chunk() {
                Some(window) => {
                    view.write(view_of(window, length, offset));
                }
                None => write_last(view, text, offset),
            }
            count += 1;
        }
        assert!(!cut, "a range of bytes begins or ends inside of a character");
        // SAFETY: invariant 5: so many views behind the last one were written above.
        unsafe { self.views.set_len(self.views.len() + count) };
        longest
    }
}

/// Appends the views of ranges of ASCII, if all are short and not the last bytes; if not, nothing: whether that was done.
struct ShortViews<'a, I> {
    bytes: &'a [u8],
    ranges: I,
    views: &'a mut Vec<u128>,
}

impl<I: Iterator<Item = (u32, u32)>> Loop for ShortViews<'_, I> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let (mut longest, mut count) = (0, 0);
        for (view, (offset, end)) in self.views.spare_capacity_mut().iter_mut().zip(self.ranges) {
            let Some(text) = window(self.bytes, offset) else { return false };
            // Of an end before the offset it is very long.
            let length = end.wrapping_sub(offset);
            longest = longest.max(length);
            let text_bytes = &TEXT_BYTES[length as usize & (TEXT_BYTES.len() - 1)];
            view.write(view_from(text, text_bytes, length, 0));
            count += 1;
        }
        if longest as usize > INLINE_BYTES_MAX {
            return false;
        }
        // SAFETY: invariant 5: so many views behind the last one were written above. No range is longer than the window that it begins, so that
        // all lie in `bytes`.
        unsafe { self.views.set_len(self.views.len() + count) };
        true
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn views_share_the_source() {
        let text = "short, and a text that is longer than twelve bytes";
        let source = Utf8Buffer::new(Buffer::from(text.as_bytes())).unwrap();
        let address = source.as_str().as_ptr();
        let mut column = ViewColumn::new(source, 4);
        column.extend([(0, 5)].into_iter());
        column.push_null();
        column.extend([(7, text.len() as u32)].into_iter());
        column.push_owned("text from elsewhere, unescaped");
        let array = column.finish();
        assert_eq!(array.value(0), "short");
        assert!(array.is_null(1));
        assert_eq!(array.value(2), &text[7..]);
        assert_eq!(array.value(3), "text from elsewhere, unescaped");
        assert_eq!(array.data_buffers()[0].as_ptr(), address);
    }

    #[test]
    fn a_column_of_short_texts_keeps_nothing_alive() {
        let mut column = ViewColumn::new(Utf8Buffer::new(Buffer::from(b"abc")).unwrap(), 1);
        column.extend([(1, 3)].into_iter());
        assert!(column.finish().data_buffers().is_empty());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_handed_back() {
        assert_eq!(Utf8Buffer::new(Buffer::from([b'a', 0xff])).unwrap_err().len(), 2);
    }

    #[test]
    #[should_panic(expected = "inside of a character")]
    fn a_cut_character_is_a_bug() {
        ViewColumn::new(Utf8Buffer::new(Buffer::from("ä".as_bytes())).unwrap(), 1)
            .extend([(0, 1)].into_iter());
    }

    proptest! {
        /// Short ones, long ones and both, of which some are the last bytes.
        #[test]
        fn ranges_at_once_are_ranges_one_by_one(
            calls in prop::collection::vec(prop::collection::vec(prop_oneof![9 => "[a-z]{0,12}", 1 => "[a-zé]{0,20}"], 0..20), 1..4),
            padding in 0..20usize,
        ) {
            let texts: Vec<&String> = calls.iter().flatten().collect();
            let joined: String = texts.iter().map(|text| text.as_str()).chain([" ".repeat(padding).as_str()]).collect();
            let mut column = ViewColumn::new(Utf8Buffer::new(Buffer::from(joined.as_bytes())).unwrap(), 0);
            let mut start = 0;
            for texts in &calls {
                let ranges: Vec<(u32, u32)> = texts.iter().map(|text| {
                    let range = (start, start + text.len() as u32);
                    start = range.1;
                    range
                }).collect();
                column.extend(ranges.into_iter());
            }
            let array = column.finish();
            array.to_data().validate_full().unwrap();
            prop_assert_eq!(array, StringViewArray::from_iter_values(texts));
        }
    }

    proptest! {
        #[test]
        fn same_as_arrows_own_builder(texts in prop::collection::vec(prop::option::of(".{0,20}"), 0..20), owned: u32) {
            let joined: String = texts.iter().flatten().map(String::as_str).collect();
            let mut column = ViewColumn::new(Utf8Buffer::new(Buffer::from(joined.as_bytes())).unwrap(), texts.len());
            let mut start = 0;
            for (index, text) in texts.iter().enumerate() {
                match text {
                    None => column.push_null(),
                    Some(text) if owned >> (index % 32) & 1 == 1 => column.push_owned(text),
                    Some(text) => column.extend([(start, start + text.len() as u32)].into_iter()),
                }
                start += text.as_ref().map_or(0, |text| text.len() as u32);
            }
            let array = column.finish();
            array.to_data().validate_full().unwrap();
            prop_assert_eq!(array, StringViewArray::from_iter(texts));
        }
    }
}

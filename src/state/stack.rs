//! A stack of numbers in pages: slots that are free.
//!
//! What was put last is taken first, for it is in the cache; and what will be taken is known ahead, unlike in a list that is
//! threaded through the free slots themselves.
//!
//! # Layout
//!
//! ```text
//! a word a number, the lowest first
//! ```

use super::array::Array;
use super::pages::{PAGE_WORDS, Pages};
use super::saved::Saved;

/// Numbers, the last first.
#[derive(Debug, Default)]
pub(super) struct Stack {
    pages: Array,
    count: usize,
}

impl Stack {
    /// The stack that was saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let pages = Array::load(saved, pages);
        Self { pages, count: saved.word() as usize }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        out.push(self.count as u64);
    }

    /// Puts a number on top.
    #[inline]
    pub(super) fn push(&mut self, pages: &mut Pages, number: u32) {
        let (index, at) = (self.count / PAGE_WORDS, self.count % PAGE_WORDS);
        if index == self.pages.len() {
            self.pages.push(pages);
        }
        *pages.word_mut(self.pages.page(index), at) = u64::from(number);
        self.count += 1;
    }

    /// Puts numbers on top, the last one last.
    pub(super) fn extend(&mut self, pages: &mut Pages, mut numbers: &[u32]) {
        while let Some((&first, _)) = numbers.split_first() {
            self.push(pages, first);
            let (at, page) =
                (self.count % PAGE_WORDS, self.pages.page((self.count - 1) / PAGE_WORDS));
            let room = if at == 0 { 0 } else { PAGE_WORDS - at };
            let (fits, rest) = numbers[1..].split_at(room.min(numbers.len() - 1));
            let words = pages.words_mut(page, PAGE_WORDS - room, fits.len());
            words.iter_mut().zip(fits).for_each(|(word, &number)| *word = u64::from(number));
            self.count += fits.len();
            numbers = rest;
        }
    }

    /// Takes the number on top.
    #[inline]
    pub(super) fn pop(&mut self, pages: &Pages) -> Option<u32> {
        let number = self.peek(pages, 0)?;
        self.count -= 1;
        Some(number)
    }

    /// The number below `above` others.
    #[inline]
    pub(super) fn peek(&self, pages: &Pages, above: usize) -> Option<u32> {
        let at = self.count.checked_sub(above + 1)?;
        Some(pages.get(self.pages.page(at / PAGE_WORDS))[at % PAGE_WORDS] as u32)
    }

    /// Frees all pages.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.pages.release(pages);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a vector; what was saved goes on.
        #[test]
        fn a_stack_is_a_vector(steps in prop::collection::vec((any::<bool>(), 1..1500u32), 1..20)) {
            let (mut pages, mut stack) = (Pages::default(), Stack::default());
            let mut twin = Vec::new();
            for (pushes, count) in steps {
                if pushes && count.is_multiple_of(2) {
                    let numbers: Vec<u32> = (0..count).collect();
                    stack.extend(&mut pages, &numbers);
                    twin.extend(numbers);
                    continue;
                }
                for number in 0..count {
                    if pushes {
                        stack.push(&mut pages, number);
                        twin.push(number);
                    } else {
                        prop_assert_eq!(stack.pop(&pages), twin.pop());
                    }
                }
                let mut saved = Vec::new();
                stack.save(&mut saved);
                stack = Stack::load(&mut Saved::new(&saved), &pages);
                for above in [0, 1, 7, 5000] {
                    let expected = twin.len().checked_sub(above + 1).map(|at| twin[at]);
                    prop_assert_eq!(stack.peek(&pages, above), expected);
                }
            }
            stack.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }
}

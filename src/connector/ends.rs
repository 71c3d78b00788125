//! Finds where records end, in a stream of bytes that may be entered in the middle.
//!
//! A CSV field is quoted if it *begins* with the quote; a quote elsewhere is text. So whether a newline ends
//! a record depends on what is before it, back to the file's start, in one bit: inside a quoted field or
//! not. One bit is enough where no quote and no escape stands right before, so that is where a scan
//! enters ([`Ends::settle`]); whatever else it needs to know, it finds in the few bytes before.
//!
//! # Invariants
//!
//! 1. A scan that enters at a settled position with the right bit finds the ends that a scan from the file's start
//!    finds: that is why ranges of a file fit together. (Not so in a run of more than [`SETTLE_BYTES`] quotes.)
//! 2. Nothing looks back further than [`LOOK_BACK_BYTES`].

use memchr::{memchr, memchr_iter, memchr2};

use crate::format::{Framing, Quoting};

/// How far back a scan looks at most.
pub(super) const LOOK_BACK_BYTES: usize = 16;
/// How far a run of quotes and escapes is passed over to settle.
pub(super) const SETTLE_BYTES: usize = 4096;

/// What ends a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) delimiter: u8,
    /// In fields quoted so, a delimiter is text.
    pub(super) quoting: Option<Quoting>,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// The next byte to look at; may be one beyond the bytes there are, after an escape.
    pub(super) from: usize,
    pub(super) in_quotes: bool,
    /// Where a quoted field has just been closed: a quote there goes on with it.
    closed_at: Option<usize>,
}

impl Scan {
    /// A scan from the start of a record.
    pub(super) fn new() -> Self {
        Self { from: 0, in_quotes: false, closed_at: None }
    }

    /// The same scan after the first `count` bytes, whole records, are gone.
    pub(super) fn shift(&mut self, count: usize) {
        self.from -= count;
        self.closed_at = self.closed_at.and_then(|at| at.checked_sub(count));
    }
}

impl Ends {
    /// What ends a record of `framing`; `None` for blocks.
    pub(super) fn of(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Delimited(delimiter) => Some(Ends { delimiter, quoting: None }),
            Framing::Quoted(quoting) => Some(Ends { delimiter: b'\n', quoting: Some(quoting) }),
            Framing::Blocks => None,
        }
    }

    /// The first position at or after `position` where a scan can enter: with neither quote nor escape right before.
    pub(super) fn settle(self, bytes: &[u8], position: usize) -> usize {
        let Some(Quoting { quote, escape, .. }) = self.quoting.filter(|_| position > 0) else {
            return position;
        };
        let limit = bytes.len().min(position + SETTLE_BYTES);
        let run = bytes[position - 1..limit]
            .iter()
            .take_while(|&&byte| byte == quote || Some(byte) == escape);
        (position + run.count()).min(limit.max(position))
    }

    /// A scan from the settled `position`, where `in_quotes` holds.
    pub(super) fn enter(self, bytes: &[u8], position: usize, in_quotes: bool) -> Scan {
        let mut scan = Scan { from: position, in_quotes, closed_at: None };
        if let Some(quoting) = self.quoting.filter(|_| position > 0) {
            // Neither can be unless the position could not be settled.
            scan.closed_at = (bytes[position - 1] == quoting.quote).then_some(position);
            scan.from += usize::from(in_quotes && quoting.is_escaped(bytes, position));
        }
        scan
    }

    /// The first record start at or after the settled `position > 0`, where `in_quotes` holds.
    pub(super) fn record_start(
        self,
        bytes: &[u8],
        position: usize,
        in_quotes: bool,
    ) -> Option<usize> {
        let after_end = !in_quotes && bytes[position - 1] == self.delimiter;
        if after_end && !self.quoting.is_some_and(|quoting| quoting.is_escaped(bytes, position - 1))
        {
            return Some(position);
        }
        self.next_end(bytes, &mut self.enter(bytes, position, in_quotes))
    }

    /// Whether the end of `bytes` is in quotes if the settled `position` is as `in_quotes` says.
    pub(super) fn in_quotes_at_end(self, bytes: &[u8], position: usize, in_quotes: bool) -> bool {
        let mut scan = self.enter(bytes, position, in_quotes);
        match self.quoting {
            // Without escapes only quotes matter, and there is no need to stop at delimiters.
            Some(quoting) if quoting.escape.is_none() => {
                for at in
                    memchr_iter(quoting.quote, &bytes[position..]).map(|index| position + index)
                {
                    if scan.in_quotes {
                        (scan.in_quotes, scan.closed_at) = (false, Some(at + 1));
                    } else {
                        scan.in_quotes =
                            scan.closed_at == Some(at) || quoting.begins_field(bytes, at);
                    }
                }
            }
            _ => while self.next_end(bytes, &mut scan).is_some() {},
        }
        scan.in_quotes
    }

    /// The position after the next delimiter that ends a record; without one, `scan` has come to the end of `bytes`.
    pub(super) fn next_end(self, bytes: &[u8], scan: &mut Scan) -> Option<usize> {
        let Some(quoting) = self.quoting else {
            let end =
                memchr(self.delimiter, &bytes[scan.from..]).map(|index| scan.from + index + 1);
            scan.from = end.unwrap_or(bytes.len());
            return end;
        };
        loop {
            if scan.in_quotes && !quoting.close(bytes, scan) {
                return None;
            }
            let Some(index) = memchr2(self.delimiter, quoting.quote, &bytes[scan.from..]) else {
                scan.from = bytes.len();
                return None;
            };
            let at = scan.from + index;
            scan.from = at + 1;
            if bytes[at] == quoting.quote {
                scan.in_quotes = scan.closed_at == Some(at) || quoting.begins_field(bytes, at);
            } else if !quoting.is_escaped(bytes, at) {
                scan.closed_at = None;
                return Some(at + 1);
            }
        }
    }
}

impl Quoting {
    /// Moves `scan` past the quote that closes the field; false if it is not there.
    fn close(self, bytes: &[u8], scan: &mut Scan) -> bool {
        while scan.from < bytes.len() {
            let rest = &bytes[scan.from..];
            let Some(index) = memchr2(self.quote, self.escape.unwrap_or(self.quote), rest) else {
                scan.from = bytes.len();
                return false;
            };
            let at = scan.from + index;
            if bytes[at] == self.quote {
                *scan = Scan { from: at + 1, in_quotes: false, closed_at: Some(at + 1) };
                return true;
            }
            scan.from = at + 2;
        }
        false
    }

    /// Whether a field begins at `at`, outside of quotes.
    fn begins_field(self, bytes: &[u8], at: usize) -> bool {
        let is_blank = |byte: u8| {
            self.trim && byte <= b' ' && byte != self.delimiter && byte != b'\n' && byte != b'\r'
        };
        let window = &bytes[at.saturating_sub(LOOK_BACK_BYTES)..at];
        let blanks = window.iter().rev().take_while(|&&byte| is_blank(byte)).count();
        if blanks == window.len() {
            // The start of a record, unless the blanks go on.
            return blanks < LOOK_BACK_BYTES;
        }
        let before = at - blanks - 1;
        let ends_field = bytes[before] == self.delimiter || matches!(bytes[before], b'\n' | b'\r');
        ends_field && !self.is_escaped(bytes, before)
    }

    /// Whether an odd number of escapes stands right before `at`.
    fn is_escaped(self, bytes: &[u8], at: usize) -> bool {
        let Some(escape) = self.escape.filter(|&escape| escape != self.quote) else { return false };
        let window = &bytes[at.saturating_sub(LOOK_BACK_BYTES)..at];
        window.iter().rev().take_while(|&&byte| byte == escape).count() % 2 == 1
    }
}

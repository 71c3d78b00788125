//! Tumbling and sliding windows as unions of slices, each with a table of its own.

use std::collections::VecDeque;

use peer_clicks::{Answer, Click, LAG_MS, VIEW};

use crate::groups::{Groups, Hashed, Slot};

/// Windows of `slices` slices of `width_ms`; one ends with each slice.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The width of a slice.
    pub width_ms: i64,
    slices: i64,
    show: fn(&mut Answer, i64, &Slot),
}

/// W1.
pub const TUMBLE: Shape = Shape {
    width_ms: 10_000,
    slices: 1,
    show: |answer, start_ms, &Slot { key, count, sum, max }| {
        answer.add_tumble(start_ms, key, count, sum, max, sum / count as f64);
    },
};
/// W3.
pub const HOP: Shape = Shape { width_ms: 2000, slices: 5, show: show_sum };
/// W5.
pub const MINUTE: Shape = Shape { width_ms: 60_000, slices: 1, show: show_sum };

fn show_sum(answer: &mut Answer, start_ms: i64, slot: &Slot) {
    answer.add_sum(start_ms, slot.key, slot.count, slot.sum);
}

/// The slices that windows still need.
pub struct Slices<G> {
    shape: Shape,
    /// From slice `first` on.
    open: VecDeque<G>,
    first: i64,
    /// Windows that end with slices before this one have been shown.
    next: i64,
    /// When the next window is over.
    due_ms: i64,
    /// The slice that was asked for last, and when it begins: most rows are in it.
    last: i64,
    last_ms: i64,
    spare: Vec<G>,
    answer: Answer,
}

impl<G: Groups> Slices<G> {
    /// No slices yet.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            open: VecDeque::new(),
            first: 0,
            next: i64::MIN,
            due_ms: i64::MAX,
            last: 0,
            last_ms: 0,
            spare: Vec::new(),
            answer: Answer::default(),
        }
    }

    /// The slice that a time is in.
    #[inline]
    fn index(&mut self, at_ms: i64) -> i64 {
        if ((at_ms - self.last_ms) as u64) >= self.shape.width_ms as u64 {
            self.last = at_ms.div_euclid(self.shape.width_ms);
            self.last_ms = self.last * self.shape.width_ms;
        }
        self.last
    }

    /// The table of a slice.
    #[inline]
    fn slice(&mut self, index: i64) -> &mut G {
        let offset = (index - self.first) as usize;
        if offset >= self.open.len() {
            self.open_until(index);
        }
        &mut self.open[(index - self.first) as usize]
    }

    #[cold]
    fn open_until(&mut self, index: i64) {
        if self.open.is_empty() {
            self.first = index;
        }
        while index < self.first {
            self.open.push_front(self.spare.pop().unwrap_or_default());
            self.first -= 1;
        }
        while index >= self.first + self.open.len() as i64 {
            self.open.push_back(self.spare.pop().unwrap_or_default());
        }
        self.due_ms = self.end_ms(self.next.max(self.first));
    }

    /// The last moment of the windows that end with this slice.
    #[inline]
    fn end_ms(&self, index: i64) -> i64 {
        (index + 1) * self.shape.width_ms - 1
    }

    /// Shows the windows that the watermark has passed.
    #[cold]
    fn fire(&mut self, watermark_ms: i64) {
        let Shape { width_ms, slices, .. } = self.shape;
        let over = (watermark_ms + 1).div_euclid(width_ms);
        let last = over.min(self.first + self.open.len() as i64 + slices - 1);
        (self.next.max(self.first)..last).for_each(|index| self.show(index));
        self.next = over;
        while !self.open.is_empty() && self.first + slices <= over {
            let mut done = self.open.pop_front().expect("it is not empty");
            done.clear();
            self.spare.push(done);
            self.first += 1;
        }
        let is_empty = self.open.is_empty();
        self.due_ms = if is_empty { i64::MAX } else { self.end_ms(over.max(self.first)) };
    }

    /// Shows the window that ends with slice `index`.
    fn show(&mut self, index: i64) {
        let Shape { width_ms, slices, show } = self.shape;
        let start = index - slices + 1;
        let end = (index + 1).min(self.first + self.open.len() as i64);
        let parts = start.max(self.first)..end;
        let mut answer = self.answer;
        let mut tell = |slot: &Slot| show(&mut answer, start * width_ms, slot);
        if slices == 1 {
            parts.for_each(|index| self.open[(index - self.first) as usize].each(&mut tell));
        } else {
            let mut sum = self.spare.pop().unwrap_or_default();
            parts.for_each(|index| sum.merge(&self.open[(index - self.first) as usize]));
            sum.each(&mut tell);
            sum.clear();
            self.spare.push(sum);
        }
        self.answer = answer;
    }

    /// The last window that a row of this slice is in has been shown.
    #[inline]
    fn is_late(&self, index: i64, watermark_ms: i64) -> bool {
        self.end_ms(index + self.shape.slices - 1) <= watermark_ms
    }

    /// A row with the watermark before it; returns that after it.
    #[inline]
    fn take(&mut self, click: &Click, is_kept: bool, key: u64, watermark_ms: i64) -> i64 {
        let index = self.index(click.at_ms);
        if is_kept {
            self.add(index, key, click.amount, watermark_ms);
        }
        let watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
        self.close(watermark_ms);
        watermark_ms
    }

    /// A row of slice `index`, unless it is late.
    #[inline]
    pub fn add(&mut self, index: i64, key: u64, amount: f64, watermark_ms: i64) {
        if !self.is_late(index, watermark_ms) {
            self.slice(index).add(key, amount);
        }
    }

    /// Shows the windows that the watermark has passed, if there are any.
    #[inline]
    pub fn close(&mut self, watermark_ms: i64) {
        if watermark_ms >= self.due_ms {
            self.fire(watermark_ms);
        }
    }

    /// Shows the rest; what all came to.
    pub fn finish(mut self) -> Answer {
        self.fire(i64::MAX - 1);
        self.answer
    }
}

/// Row by row.
pub fn plainly<G: Groups>(clicks: &[Click], shape: Shape, key: fn(&Click) -> u64) -> Answer {
    row_by_row::<G>(clicks, shape, |_| true, key)
}

/// W1 row by row.
pub fn tumble_plainly(clicks: &[Click]) -> Answer {
    row_by_row::<Hashed>(
        clicks,
        TUMBLE,
        |click| click.action == VIEW,
        |click| u64::from(click.page),
    )
}

#[inline]
fn row_by_row<G: Groups>(
    clicks: &[Click],
    shape: Shape,
    keep: impl Fn(&Click) -> bool,
    key: impl Fn(&Click) -> u64,
) -> Answer {
    let mut slices = Slices::<G>::new(shape);
    let mut watermark_ms = i64::MIN;
    for click in clicks {
        watermark_ms = slices.take(click, keep(click), key(click), watermark_ms);
    }
    slices.finish()
}

/// Rows in a block: what fits the first cache with its selection.
pub const BLOCK: usize = 512;

/// Which rows of a block are kept.
pub struct Selection([u16; BLOCK]);

impl Default for Selection {
    fn default() -> Self {
        Self([0; BLOCK])
    }
}

impl Selection {
    /// Finds them without a branch.
    #[inline]
    pub fn of(&mut self, block: &[Click], keep: impl Fn(&Click) -> bool) -> &[u16] {
        let mut count = 0;
        for (index, click) in block.iter().enumerate() {
            self.0[count] = index as u16;
            count += usize::from(keep(click));
        }
        &self.0[..count]
    }
}

/// Block by block, by page: rows are tested one by one only where the watermark passes a window's end or a row may be late.
#[inline]
pub fn in_blocks<G: Groups>(
    clicks: &[Click],
    shape: Shape,
    keep: impl Fn(&Click) -> bool,
) -> Answer {
    let mut slices = Slices::<G>::new(shape);
    let mut selection = Selection::default();
    let mut watermark_ms = i64::MIN;
    for block in clicks.chunks(BLOCK) {
        let mut times = (i64::MAX, i64::MIN);
        for click in block {
            times = (times.0.min(click.at_ms), times.1.max(click.at_ms));
        }
        let (low, high) = (times.0.div_euclid(shape.width_ms), times.1.div_euclid(shape.width_ms));
        let after_ms = watermark_ms.max(times.1 - LAG_MS);
        if after_ms >= slices.due_ms.min(slices.end_ms(low)) {
            for click in block {
                let page = u64::from(click.page);
                watermark_ms = slices.take(click, keep(click), page, watermark_ms);
            }
            continue;
        }
        for index in low..=high {
            let (from_ms, width_ms) = (index * shape.width_ms, shape.width_ms);
            // One comparison says whether a row is in the slice.
            let inside = |click: &Click| ((click.at_ms - from_ms) as u64) < width_ms as u64;
            let rows = selection.of(block, |click| keep(click) & inside(click));
            if rows.is_empty() {
                continue;
            }
            let table = slices.slice(index);
            for &row in rows {
                let click = &block[usize::from(row)];
                table.add(u64::from(click.page), click.amount);
            }
        }
        watermark_ms = after_ms;
    }
    slices.finish()
}

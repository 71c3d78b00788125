//! Windows that fire: which slices they are made of, and how their groups are read out, a batch at a time.

use super::super::gathered::Gathered;
use super::super::pane::with_window;
use super::*;
use crate::state::{Backlog, PARTITIONS};

/// A window that is being read out.
pub(super) enum Firing {
    /// Its groups are in a pane.
    Folded(Box<Folded>),
    /// They are the sum of slices that overlapping windows share.
    Summed(Box<Summed>),
    /// They are gathered from what waited.
    Waiting(Box<Gathering>),
}

pub(super) struct Summed {
    end_ms: i64,
    groups: Sum,
    slot: u32,
}

pub(super) struct Folded {
    end_ms: i64,
    pane: Pane,
    slot: u32,
    /// CUMULATE keeps the pane for the next step.
    keep: bool,
}

/// A window whose groups are gathered.
pub(super) struct Gathering {
    end_ms: i64,
    /// What is folded, in this order.
    sources: Vec<Source>,
    /// CUMULATE: what the next step goes on from.
    sum: Option<Waiting>,
    gathered: Gathered,
    /// The partition after the one that is gathered.
    next_partition: usize,
    /// Groups before this have been read out.
    slot: u32,
}

/// A slice.
struct Source {
    end_ms: i64,
    waiting: Waiting,
    /// No later window needs it.
    is_last: bool,
}

impl Gathering {
    /// Gathers the next groups; false: there are none.
    fn gather(&mut self, shape: &Shape, pages: &mut Pages) -> bool {
        self.slot = 0;
        loop {
            let backlogs = || self.sources.iter().map(|source| &source.waiting.backlog);
            let slices: Vec<&Backlog> = backlogs().collect();
            if self.gathered.next_part(shape, pages, &slices) {
                if let Some(sum) = &mut self.sum {
                    sum.take_groups(shape, pages, &self.gathered);
                }
                return true;
            }
            let Some(before) = self.next_partition.checked_sub(1) else {
                self.begin(shape, pages);
                continue;
            };
            for source in self.sources.iter_mut().filter(|source| source.is_last) {
                source.waiting.backlog.release_partition(pages, before);
            }
            if self.next_partition == PARTITIONS {
                return false;
            }
            self.begin(shape, pages);
        }
    }

    fn begin(&mut self, shape: &Shape, pages: &mut Pages) {
        let backlogs = self.sources.iter().map(|source| &source.waiting.backlog);
        let slices: Vec<&Backlog> = backlogs.collect();
        slices.iter().for_each(|slice| slice.prefetch(pages, self.next_partition + 1));
        self.gathered.begin(shape, pages, &slices, self.next_partition);
        self.next_partition += 1;
    }
}

impl WindowAggregate {
    /// The slices of a window that have rows, in the order in which they are added up. Where that shows (LISTAGG), Flink's table
    /// function adds the newest slice of overlapping windows first, its group window the oldest.
    fn slices_of(&self, end_ms: i64) -> Vec<i64> {
        if self.slices.is_single() {
            return self.panes.contains_key(&end_ms).then_some(end_ms).into_iter().collect();
        }
        let start =
            self.slices.window_start(end_ms).expect("windows of several slices have starts");
        let slices = self.panes.range(start + 1..=end_ms).map(|(&slice, _)| slice);
        match self.newest_first && !self.slices.is_cumulative() {
            true => slices.rev().collect(),
            false => slices.collect(),
        }
    }

    /// Where a window of CUMULATE starts.
    fn start_of(&self, end_ms: i64) -> Option<i64> {
        let start = || self.slices.window_start(end_ms).expect("cumulative windows have starts");
        self.slices.is_cumulative().then(start)
    }

    /// Whether no window after the one that ends at `end_ms` needs a slice.
    fn is_last(&self, slice: i64, end_ms: i64) -> bool {
        self.slices.is_single()
            || self.slices.is_cumulative()
            || self.slices.last_window_end(slice).is_none_or(|last| last <= end_ms)
    }

    pub(super) fn start_firing(&mut self, end_ms: i64) {
        if let Some(groups) = self.take_fresh(end_ms) {
            self.firing = Some(Firing::Summed(Box::new(Summed { end_ms, groups, slot: 0 })));
            self.fired_count += 1;
            return;
        }
        let shape = Arc::clone(&self.shape);
        let waits = self.has_waiting(end_ms);
        if waits {
            self.settle_fresh();
        }
        let mut pages = std::mem::take(&mut self.pages);
        self.firing = match waits {
            true => {
                let gathering = self.gathering(&shape, &mut pages, end_ms);
                Some(Firing::Waiting(Box::new(gathering)))
            }
            false if self.shares_sums() => self.sum_up(&shape, &mut pages, end_ms),
            false => self.add_up(&shape, &mut pages, end_ms).map(|mut pane| {
                let keep = self.start_of(end_ms).is_some() && !self.is_over(end_ms);
                match keep {
                    true => pane.flush(&shape, &mut pages),
                    false => pane.finish(&shape, &mut pages),
                }
                Firing::Folded(Box::new(Folded { end_ms, pane, slot: 0, keep }))
            }),
        };
        self.fired_count += u64::from(self.firing.is_some());
        self.pages = pages;
    }

    /// Whether some slice of a window waits. Where none of all slices does, that is known without a look at those of the window.
    fn has_waiting(&mut self, end_ms: i64) -> bool {
        if self.may_wait {
            let all = self.panes.values().chain(self.running.values());
            self.may_wait = all.into_iter().any(Slice::waits);
        }
        self.may_wait && {
            let slices = self.slices_of(end_ms);
            let running = self.start_of(end_ms).and_then(|start| self.running.get(&start));
            slices.iter().filter_map(|slice| self.panes.get(slice)).chain(running).any(Slice::waits)
        }
    }

    /// CUMULATE: the sum of the slices of a window's start that have fired.
    fn take_running(&mut self, end_ms: i64) -> Option<Slice> {
        self.start_of(end_ms).and_then(|start| self.running.remove(&start))
    }

    /// The groups of a window that is one slice, if that has no table.
    fn take_fresh(&mut self, end_ms: i64) -> Option<Sum> {
        let is_fresh = |slice: &Slice| slice.as_fresh().is_some();
        if !self.slices.is_single() || !self.panes.get(&end_ms).is_some_and(is_fresh) {
            return None;
        }
        match self.panes.remove(&end_ms) {
            Some(Slice::Fresh(sum)) => Some(*sum),
            _ => unreachable!("it was just looked at"),
        }
    }

    /// Whether a step of CUMULATE is its window's last.
    fn is_over(&self, end_ms: i64) -> bool {
        self.slices.last_window_end(end_ms) == Some(end_ms)
    }

    /// Whether windows overlap, and what they have in common need be added up only a few times; sums take slices in no order.
    pub(super) fn shares_sums(&self) -> bool {
        let overlap = !self.slices.is_single() && !self.slices.is_cumulative();
        overlap && !self.shape.is_order_sensitive() && Waiting::suits(&self.shape)
    }

    /// The sum of a window's slices, with what earlier windows have left of it; slices that no later window needs are freed.
    fn sum_up(&mut self, shape: &Shape, pages: &mut Pages, end_ms: i64) -> Option<Firing> {
        let start_ms =
            self.slices.window_start(end_ms).expect("windows of several slices have starts");
        let (panes, key_numbers) = (&mut self.panes, &mut self.key_numbers);
        let after = |from: i64| panes.range(from + 1..=end_ms).map(|(&slice, _)| slice);
        let entry = self.sums.enter(start_ms, after)?;
        let groups = self.sums.sum(shape, &entry, &mut |slice, sum| match panes
            .get_mut(&slice)
            .expect("entered")
        {
            Slice::Fresh(fresh) => sum.absorb(shape, fresh),
            slice => slice.pane_mut().add_to(shape, pages, key_numbers, sum),
        });
        // The older a slice, the sooner it has its last window.
        let oldest = |panes: &BTreeMap<i64, Slice>| {
            panes.range(start_ms + 1..=end_ms).next().map(|(&slice, _)| slice)
        };
        while let Some(slice) = oldest(&self.panes).filter(|&slice| self.is_last(slice, end_ms)) {
            match self.panes.remove(&slice).expect("just seen") {
                Slice::Fresh(sum) => self.sums.take_back(*sum),
                slice => slice.into_pane().release(pages),
            }
        }
        Some(Firing::Summed(Box::new(Summed { end_ms, groups, slot: 0 })))
    }

    /// The sum of slices that are in tables; those that no later window needs are freed.
    fn add_up(&mut self, shape: &Shape, pages: &mut Pages, end_ms: i64) -> Option<Pane> {
        let mut sum = self.take_running(end_ms).map(Slice::into_pane);
        for slice in self.slices_of(end_ms) {
            let is_last = self.is_last(slice, end_ms);
            if is_last && sum.is_none() {
                sum = self.panes.remove(&slice).map(Slice::into_pane);
                continue;
            }
            let target = sum.get_or_insert_with(|| Pane::new(shape, shape.layout.word_count));
            let pane = self.panes.get_mut(&slice).expect("listed").pane_mut();
            target.absorb(shape, pages, &mut self.key_numbers, pane);
            if is_last {
                self.panes.remove(&slice).expect("listed").into_pane().release(pages);
            }
        }
        sum
    }

    /// All slices of a window wait from now on, those that are needed again as one record a group.
    fn gathering(&mut self, shape: &Shape, pages: &mut Pages, end_ms: i64) -> Gathering {
        let source = |end_ms: i64, slice: Slice, is_last: bool, pages: &mut Pages| {
            let mut waiting = slice.into_waiting(shape, pages);
            if !is_last {
                waiting.settle(shape, pages);
            }
            Source { end_ms, waiting, is_last }
        };
        let running = self.take_running(end_ms).into_iter();
        let mut sources: Vec<Source> =
            running.map(|running| source(end_ms, running, true, pages)).collect();
        for slice in self.slices_of(end_ms) {
            let held = self.panes.remove(&slice).expect("listed");
            sources.push(source(slice, held, self.is_last(slice, end_ms), pages));
        }
        let keeps = self.start_of(end_ms).is_some() && !self.is_over(end_ms);
        Gathering {
            end_ms,
            sources,
            sum: keeps.then(Waiting::new),
            gathered: Gathered::new(shape),
            next_partition: 0,
            slot: 0,
        }
    }

    /// The next batch of the window that is being read out; `None`: that was all.
    pub(super) fn fire_some(&mut self) -> Option<Output> {
        match self.firing.take()? {
            Firing::Folded(folded) => Some(self.read_some(folded)),
            Firing::Summed(summed) => Some(self.read_sums(summed)),
            Firing::Waiting(gathering) => self.gather_some(gathering),
        }
    }

    fn gather_some(&mut self, mut gathering: Box<Gathering>) -> Option<Output> {
        let shape = Arc::clone(&self.shape);
        while gathering.slot as usize == gathering.gathered.count() {
            if !gathering.gather(&shape, &mut self.pages) {
                self.end_gathering(*gathering);
                return None;
            }
        }
        let slots = gathering.slot
            ..(gathering.gathered.count() as u32).min(gathering.slot + BATCH_ROWS_MAX as u32);
        let columns = gathering.gathered.results(&shape, slots.clone());
        let output = self.result_rows(columns, gathering.end_ms, slots.len());
        gathering.slot = slots.end;
        self.firing = Some(Firing::Waiting(gathering));
        Some(output)
    }

    /// Keeps what later windows need.
    fn end_gathering(&mut self, gathering: Gathering) {
        for source in gathering.sources {
            match source.is_last {
                true => source.waiting.release(&mut self.pages),
                false => {
                    self.panes.insert(source.end_ms, Slice::Waiting(source.waiting));
                }
            }
        }
        if let Some(sum) = gathering.sum {
            let start = self.start_of(gathering.end_ms).expect("only CUMULATE keeps a sum");
            self.running.insert(start, Slice::Waiting(sum));
        }
    }

    fn read_sums(&mut self, mut summed: Box<Summed>) -> Output {
        let count = summed.groups.count() as u32;
        let slots = summed.slot..count.min(summed.slot + BATCH_ROWS_MAX as u32);
        let columns = summed.groups.results(&self.shape, &self.key_numbers, slots.clone());
        let output = self.result_rows(columns, summed.end_ms, slots.len());
        summed.slot = slots.end;
        match slots.end < count {
            true => self.firing = Some(Firing::Summed(summed)),
            false => self.sums.take_back(summed.groups),
        }
        output
    }

    fn read_some(&mut self, mut firing: Box<Folded>) -> Output {
        let end = firing.pane.table.slot_end().min(firing.slot + BATCH_ROWS_MAX as u32);
        firing.pane.table.prefetch(&self.pages, firing.slot..end + BATCH_ROWS_MAX as u32);
        let slots: Vec<u32> = (firing.slot..end).collect();
        let output = match self.stage {
            Stage::Final => {
                let columns = firing.pane.results(&self.shape, 0, &mut self.pages, &slots);
                self.result_rows(columns, firing.end_ms, slots.len())
            }
            Stage::First(_) => {
                let all = !self.yields_increments();
                let new =
                    slots.into_iter().filter(|&slot| all || self.is_touched(&firing.pane, slot));
                let new: Vec<u32> = new.collect();
                self.partial_results(&mut firing.pane, firing.end_ms, &new)
            }
        };
        firing.slot = end;
        if end < firing.pane.table.slot_end() {
            self.firing = Some(Firing::Folded(firing));
        } else if firing.keep {
            let start = self.start_of(firing.end_ms).expect("only CUMULATE keeps a sum");
            self.running.insert(start, Slice::Folded(Box::new(firing.pane)));
        } else {
            firing.pane.release(&mut self.pages);
        }
        output
    }

    fn result_rows(&self, mut columns: Vec<ArrayRef>, end_ms: i64, rows: usize) -> Output {
        self.ages.blank(&mut columns[self.shape.keys.len()..], self.ages.of_window(end_ms));
        let time_ms = self.wall.rowtime_of(end_ms - 1, self.instant_time);
        let start_ms = self.starts.window_start(end_ms);
        Output::Rows(with_window(&self.shape, columns, rows, start_ms, end_ms, time_ms))
    }
}

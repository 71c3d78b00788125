//! W4: sessions by device.

use std::collections::HashMap;

use peer_clicks::{Answer, Click, LAG_MS};

use crate::groups::home;

/// Rows no further apart are in one session.
pub const GAP_MS: i64 = 5000;
/// How often sessions that are over are looked for.
pub const SWEEP_MS: i64 = 60_000;

/// A session.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    from_ms: i64,
    to_ms: i64,
    count: u32,
    sum: f64,
}

impl Session {
    fn one(at_ms: i64, amount: f64) -> Self {
        Self { from_ms: at_ms, to_ms: at_ms, count: 1, sum: amount }
    }

    #[inline]
    fn touches(&self, at_ms: i64) -> bool {
        at_ms >= self.from_ms - GAP_MS && at_ms <= self.to_ms + GAP_MS
    }

    /// The watermark has passed its last moment.
    #[inline]
    fn is_over(&self, watermark_ms: i64) -> bool {
        self.to_ms + GAP_MS - 1 <= watermark_ms
    }

    fn absorb(&mut self, other: &Session) {
        self.from_ms = self.from_ms.min(other.from_ms);
        self.to_ms = self.to_ms.max(other.to_ms);
        self.count += other.count;
        self.sum += other.sum;
    }

    fn show(&self, device: u64, answer: &mut Answer) {
        answer.add_sum(self.from_ms, device, u64::from(self.count), self.sum);
    }
}

/// A device and one of its sessions, the only one of nearly all.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    device: u64,
    session: Session,
    /// Whether someone is here, if only a device whose sessions are all over.
    is_used: bool,
    /// Whether there are more sessions beside.
    has_more: bool,
}

/// Devices with their open sessions; open addressing, at most half full.
#[derive(Debug)]
pub struct Sessions {
    slots: Vec<Slot>,
    shift: u32,
    used: usize,
    more: HashMap<u64, Vec<Session>>,
}

impl Sessions {
    /// Nobody yet.
    #[expect(clippy::new_without_default, reason = "a table is made on purpose")]
    pub fn new() -> Self {
        let slots = vec![Slot::default(); 1024];
        Self { slots, shift: 64 - 10, used: 0, more: HashMap::new() }
    }

    /// A row, with the watermark at its arrival.
    #[inline]
    pub fn add(
        &mut self,
        device: u64,
        at_ms: i64,
        amount: f64,
        watermark_ms: i64,
        answer: &mut Answer,
    ) {
        let mask = self.slots.len() - 1;
        let mut index = home(device, self.shift);
        while self.slots[index].is_used && self.slots[index].device != device {
            index = (index + 1) & mask;
        }
        let slot = &mut self.slots[index];
        let row = Session::one(at_ms, amount);
        if !slot.is_used {
            if !row.is_over(watermark_ms) {
                *slot = Slot { device, session: row, is_used: true, has_more: false };
                self.used += 1;
                if self.used * 2 > self.slots.len() {
                    self.grow();
                }
            }
            return;
        }
        let session = &mut slot.session;
        // A session that is over takes no more rows, even if nobody has shown it yet.
        let is_over = session.count == 0 || session.is_over(watermark_ms);
        if slot.has_more || (!is_over && !session.touches(at_ms)) {
            return self.add_to_several(index, row, watermark_ms, answer);
        }
        if !is_over {
            session.absorb(&row);
        } else if !row.is_over(watermark_ms) {
            if session.count > 0 {
                session.show(device, answer);
            }
            *session = row;
        }
    }

    /// A row of a device that has several open sessions, or gets a second.
    #[cold]
    fn add_to_several(
        &mut self,
        index: usize,
        row: Session,
        watermark_ms: i64,
        answer: &mut Answer,
    ) {
        let slot = &mut self.slots[index];
        let mut open = self.more.remove(&slot.device).unwrap_or_default();
        open.push(slot.session);
        open.retain(|session| {
            let is_over = session.count == 0 || session.is_over(watermark_ms);
            if is_over && session.count > 0 {
                session.show(slot.device, answer);
            }
            !is_over
        });
        let mut merged = row;
        open.retain(|session| {
            let touches = session.touches(row.from_ms);
            if touches {
                merged.absorb(session);
            }
            !touches
        });
        if !merged.is_over(watermark_ms) {
            open.push(merged);
        }
        slot.session = open.pop().unwrap_or_default();
        slot.has_more = !open.is_empty();
        if slot.has_more {
            self.more.insert(slot.device, open);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        self.shift -= 1;
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.is_used) {
            let mut index = home(slot.device, self.shift);
            while self.slots[index].is_used {
                index = (index + 1) & mask;
            }
            self.slots[index] = slot;
        }
    }

    /// Shows the sessions that are over. Devices keep their places.
    pub fn sweep(&mut self, watermark_ms: i64, answer: &mut Answer) {
        let over = |session: &Session| session.count > 0 && session.is_over(watermark_ms);
        for slot in &mut self.slots {
            if over(&slot.session) {
                slot.session.show(slot.device, answer);
                slot.session = Session::default();
            }
        }
        for (device, open) in &mut self.more {
            for session in open.iter_mut().filter(|session| over(session)) {
                session.show(*device, answer);
                *session = Session::default();
            }
        }
    }
}

/// Row by row.
pub fn plainly(clicks: &[Click]) -> Answer {
    let mut sessions = Sessions::new();
    let mut answer = Answer::default();
    let (mut watermark_ms, mut sweep_ms) = (i64::MIN, i64::MIN);
    for click in clicks {
        sessions.add(click.device, click.at_ms, click.amount, watermark_ms, &mut answer);
        watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
        if watermark_ms >= sweep_ms {
            sessions.sweep(watermark_ms, &mut answer);
            sweep_ms = watermark_ms + SWEEP_MS;
        }
    }
    sessions.sweep(i64::MAX, &mut answer);
    answer
}

//! Tables of groups: count, sum and maximum by key.

use peer_clicks::PAGES_MAX;

/// A group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// Whose.
    pub key: u64,
    /// 0: nobody is here.
    pub count: u64,
    /// The sum of amounts.
    pub sum: f64,
    /// The highest.
    pub max: f64,
}

impl Slot {
    #[inline]
    fn add(&mut self, amount: f64) {
        self.count += 1;
        self.sum += amount;
        self.max = if amount > self.max { amount } else { self.max };
    }

    fn merge(&mut self, other: &Slot) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }
}

/// A table of groups.
pub trait Groups: Default {
    /// Adds a row.
    fn add(&mut self, key: u64, amount: f64);
    /// Adds what another table holds.
    fn merge(&mut self, other: &Self);
    /// Its groups.
    fn each(&self, f: impl FnMut(&Slot));
    /// Forgets all groups and keeps the memory.
    fn clear(&mut self);
}

/// Where a key begins to look in a table of `1 << (64 - shift)` slots.
#[inline]
pub fn home(key: u64, shift: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

/// Open addressing with linear probing, at most half full.
#[derive(Debug)]
pub struct Hashed {
    slots: Vec<Slot>,
    shift: u32,
    used: usize,
}

impl Default for Hashed {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); 2048], shift: 64 - 11, used: 0 }
    }
}

impl Hashed {
    #[inline]
    fn slot(&mut self, key: u64) -> &mut Slot {
        let mask = self.slots.len() - 1;
        let mut index = home(key, self.shift);
        while self.slots[index].count != 0 && self.slots[index].key != key {
            index = (index + 1) & mask;
        }
        if self.slots[index].count == 0 {
            if self.used * 2 >= self.slots.len() {
                self.grow();
                return self.slot(key);
            }
            self.used += 1;
            self.slots[index].key = key;
        }
        &mut self.slots[index]
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        self.shift -= 1;
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.count != 0) {
            *self.slot(slot.key) = slot;
        }
    }
}

impl Groups for Hashed {
    #[inline]
    fn add(&mut self, key: u64, amount: f64) {
        self.slot(key).add(amount);
    }

    fn merge(&mut self, other: &Self) {
        other.each(|group| self.slot(group.key).merge(group));
    }

    fn each(&self, f: impl FnMut(&Slot)) {
        self.slots.iter().filter(|slot| slot.count != 0).for_each(f);
    }

    fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.used = 0;
    }
}

/// An array by page.
#[derive(Debug)]
pub struct Dense(Vec<Slot>);

impl Default for Dense {
    fn default() -> Self {
        let slot = |key| Slot { key, ..Slot::default() };
        Self((0..PAGES_MAX as u64).map(slot).collect())
    }
}

impl Groups for Dense {
    #[inline]
    fn add(&mut self, key: u64, amount: f64) {
        self.0[key as usize].add(amount);
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| own.merge(other));
    }

    fn each(&self, f: impl FnMut(&Slot)) {
        self.0.iter().filter(|slot| slot.count != 0).for_each(f);
    }

    fn clear(&mut self) {
        for (key, slot) in self.0.iter_mut().enumerate() {
            *slot = Slot { key: key as u64, ..Slot::default() };
        }
    }
}

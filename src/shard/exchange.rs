//! A shard's ends of one exchange: the sender, the outbox before the rings, the owner behind them.
//!
//! # Invariants
//!
//! 1. The owner takes chunk after chunk: from the ring of the shard that read it, or, behind other exchanges,
//!    from every ring in turn up to the same point, so that merging is deterministic. Points are the places in a chunk
//!    at which its feeds may fire, their marks and their ends of the chunk, one feed's after another's.
//! 2. Nothing is taken while a firing has not been read out. To take what yields nothing needs no room anywhere.
//! 3. The outbox holds what one chunk or one firing's batch yielded; nothing more is made until it is empty. A chunk that
//!    is begun is worked on to its end, room or not.
//!    The one thing that is passed on at once are rows that an owner has found late: they go to sinks, never to an exchange.
//! 4. Behind a feed that yields between its points (each row's change at once, or what a function makes of each row, behind
//!    another exchange) rings are drained as they fill, up to the chunk's end: what such a feed shows comes in no order.
//!
//! # Why nothing deadlocks
//!
//! Say that nothing can move. Take the earliest chunk that some owner has not ended, and the first exchange E that has such
//! an owner; feeds come before what they feed. All that E's owners lack of the chunk has been sent (3), at least to an outbox,
//! so each of them has something to pass on, and the outbox of some exchange F that E feeds is not empty on its shard. It is
//! E's turn there, for the feeds before E have ended the chunk. Of those owners of E take the ones with the fewest points
//! behind them, and of these the one on the lowest shard, s. F's owner behind the full ring from s has ended all chunks before:
//!
//! - If it has nothing to pass on, it takes what it can: all of the feeds before E, of E all up to the last point of s, and then
//!   ring after ring up to the next, which E has passed on all shards below s. So it comes to the ring from s, and that moves.
//! - If it has reached a mark, it is E's second stage, E's owners have all passed that mark, and all that F's owners lack up to
//!   it has been sent. Then the same holds of F, which follows E at once, and of what it feeds.
//! - If it yields between points, what it feeds drains its rings as they fill (4), and so does what that feeds if it yields
//!   likewise. The last of them has nothing to pass on, and moves.

use std::collections::VecDeque;

use super::checkpoint::Barrier;
use super::control::Control;
use super::topology::{Exchange, Feeds};
use crate::metrics::LateRows;
use crate::op::send::Shipment;
use crate::op::sender::Sender;
use crate::op::{Output, Payload, Receiver, WATERMARK_START};
use crate::planted;
use crate::ring::mesh::Ends;
use crate::state::{Pages, Sealed};

/// What an owner and its sender begin with.
pub(crate) struct OwnerOrigin {
    pub(crate) pages: Pages,
    pub(crate) header: Option<Vec<u64>>,
    pub(crate) watermark_ms: i64,
    pub(crate) late: LateRows,
}

impl Default for OwnerOrigin {
    fn default() -> Self {
        Self {
            pages: Pages::transient(),
            header: None,
            watermark_ms: WATERMARK_START,
            late: LateRows::default(),
        }
    }
}

/// What travels a ring.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Batch(Box<Payload>),
    /// Event time has reached this, in the middle of a chunk.
    Watermark(i64),
    /// A feed has come to a point inside a chunk: the next ring's turn.
    Point,
    ChunkEnd(ChunkEnd),
}

/// The end of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChunkEnd {
    /// Whose ring carries the next chunk.
    pub(crate) next_shard: usize,
    /// Event time (or, for processing-time windows, the clock) after the chunk.
    pub(crate) watermark_ms: i64,
    /// Processing time.
    pub(crate) now_ms: i64,
    /// It was the last.
    pub(crate) is_last: bool,
    /// A snapshot begins behind it.
    pub(crate) barrier: Option<Barrier>,
}

/// A point at which all shards agree where the sequence stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Boundary {
    Mark(i64),
    Chunk(ChunkEnd),
}

/// One shard's ends.
pub(crate) struct ExchangeEnds {
    pub(crate) sender: Sender,
    pub(crate) owner: Box<dyn Receiver>,
    ends: Ends<Message>,
    /// By destination.
    outbox: Vec<VecDeque<Message>>,
    from_scans: bool,
    /// Rings are drained one after the other.
    in_turn: bool,
    /// The ring that is drained now.
    ring: usize,
    /// The rings that have come to the boundary that is due.
    at_boundary: Vec<bool>,
    /// Yielded, but not passed on.
    output: Option<Output>,
    /// Reached, but the firing before it is still being read out.
    reached: Option<Boundary>,
    /// Event time that was passed on.
    pub(crate) watermark_ms: i64,
    now_ms: i64,
    pub(crate) is_over: bool,
    /// Feeding exchanges that have ended the current chunk on this shard.
    ended_feeds: Vec<usize>,
    feed_watermark_ms: i64,
    /// What the sender had found late at barriers that the owner has not come to.
    sealed_late: VecDeque<LateRows>,
}

/// What a call to [`ExchangeEnds::take`] came upon.
pub(crate) enum Taken {
    Nothing,
    Message,
    Output(Output),
    Boundary(Boundary),
}

impl ExchangeEnds {
    pub(crate) fn new(
        exchange: &Exchange,
        ends: Ends<Message>,
        first_shard: usize,
        origin: OwnerOrigin,
    ) -> Self {
        let shard_count = ends.to.len();
        let from_scans = matches!(exchange.feeds, Feeds::Scans(_));
        let mut sender = exchange.sender(shard_count, origin.pages.is_durable());
        sender.restore_late(origin.late);
        Self {
            sender,
            owner: exchange.receiver(origin.pages, origin.header.as_deref()),
            ends,
            outbox: (0..shard_count).map(|_| VecDeque::new()).collect(),
            from_scans,
            in_turn: exchange.in_turn,
            at_boundary: vec![false; shard_count],
            output: None,
            ring: if from_scans { first_shard } else { 0 },
            reached: None,
            watermark_ms: origin.watermark_ms,
            now_ms: i64::MIN,
            is_over: false,
            ended_feeds: Vec::new(),
            feed_watermark_ms: i64::MAX,
            sealed_late: VecDeque::new(),
        }
    }

    /// Moves what the sender has made into the outbox.
    pub(crate) fn collect(&mut self) {
        let made: Vec<Shipment> = self.sender.drain().collect();
        self.ship(made);
    }

    /// Puts into the outbox what a sender has made.
    pub(crate) fn ship(&mut self, shipments: impl IntoIterator<Item = Shipment>) {
        for shipment in shipments {
            match shipment {
                Shipment::Payload(shard, payload) => {
                    self.outbox[shard].push_back(Message::Batch(payload))
                }
                Shipment::Mark(watermark_ms) => self.broadcast(Message::Watermark(watermark_ms)),
            }
        }
    }

    /// To every shard.
    pub(crate) fn broadcast(&mut self, message: Message) {
        self.outbox.iter_mut().for_each(|outbox| outbox.push_back(message.clone()));
    }

    /// A feed has come to a point inside a chunk.
    pub(crate) fn pass_point(&mut self) {
        if self.in_turn {
            self.broadcast(Message::Point);
        }
    }

    /// Pushes the outbox into the rings as far as there is room; true if anything moved.
    pub(crate) fn push(&mut self, control: &Control) -> bool {
        let mut moved = false;
        for (shard, outbox) in self.outbox.iter_mut().enumerate() {
            while let Some(message) = outbox.pop_front() {
                if let Err(message) = self.ends.to[shard].try_push(message) {
                    outbox.push_front(message);
                    break;
                }
                moved = true;
                control.doorbells[shard].ring();
            }
        }
        moved
    }

    /// A barrier has passed the sender: what it has found late so far belongs to the snapshot.
    pub(crate) fn seal_sender(&mut self) {
        let late = if planted!("barrier-forget-late") {
            LateRows::default()
        } else {
            self.sender.late_rows().clone()
        };
        self.sealed_late.push_back(late);
    }

    /// A barrier has come to the owner.
    pub(crate) fn seal_owner(&mut self) -> (Sealed, LateRows) {
        let late = self.sealed_late.pop_front().expect("a barrier passes the sender first");
        (self.owner.seal(), late)
    }

    /// Whether chunks feed it, not other exchanges.
    pub(crate) fn is_fed_by_scans(&self) -> bool {
        self.from_scans
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_clear(&self) -> bool {
        self.outbox.iter().all(VecDeque::is_empty)
    }

    /// Whether there is something to pass on before anything is taken.
    pub(crate) fn yields(&mut self) -> bool {
        if self.output.is_none() {
            self.output = self.owner.next_output();
        }
        self.output.is_some() || self.reached.is_some()
    }

    /// Whether the owner holds results back.
    pub(crate) fn holds(&self) -> bool {
        self.owner.holds()
    }

    /// Has the owner make results that it holds back; true if there may be some.
    pub(crate) fn let_go(&mut self) -> bool {
        let holds = self.owner.holds();
        if holds {
            self.owner.let_go();
        }
        holds
    }

    /// One step of the owner's side. A sender may sleep until its full ring has room, so it is told when it has.
    pub(crate) fn take(&mut self, control: &Control) -> Taken {
        if let Some(output) = self.output.take().or_else(|| self.owner.next_output()) {
            return Taken::Output(output);
        }
        if let Some(boundary) = self.reached.take() {
            if let Boundary::Chunk(end) = boundary {
                self.is_over = end.is_last;
            }
            return Taken::Boundary(boundary);
        }
        match self.pop(control) {
            None => Taken::Nothing,
            Some(Message::Batch(payload)) => {
                self.owner.receive(*payload);
                Taken::Message
            }
            Some(Message::Watermark(watermark_ms)) => {
                self.arrive(Boundary::Mark(watermark_ms));
                Taken::Message
            }
            Some(Message::Point) => {
                self.ring = (self.ring + 1) % self.ends.from.len();
                Taken::Message
            }
            Some(Message::ChunkEnd(end)) => {
                self.arrive(Boundary::Chunk(end));
                Taken::Message
            }
        }
    }

    /// The next message of the ring whose turn it is.
    fn pop(&mut self, control: &Control) -> Option<Message> {
        if !self.in_turn {
            let mut rings = self.ends.from.iter_mut().zip(&self.at_boundary);
            self.ring = rings.position(|(ring, at_boundary)| !at_boundary && !ring.is_empty())?;
        }
        let message = self.ends.from[self.ring].try_pop()?;
        control.doorbells[self.ring].ring();
        Some(message)
    }

    /// A ring has come to a boundary: the next ring's turn, or time moves on.
    fn arrive(&mut self, boundary: Boundary) {
        if !self.from_scans {
            self.at_boundary[self.ring] = true;
            self.ring = (self.ring + 1) % self.ends.from.len();
            if self.at_boundary.contains(&false) {
                return;
            }
            self.at_boundary.fill(false);
        }
        match boundary {
            Boundary::Mark(watermark_ms) => self.owner.advance(watermark_ms, self.now_ms),
            Boundary::Chunk(end) => {
                self.now_ms = end.now_ms;
                if self.from_scans {
                    self.ring = end.next_shard;
                }
                self.owner.advance(end.watermark_ms, end.now_ms);
            }
        }
        self.reached = Some(boundary);
    }

    /// Whether it is the turn of `feed`, one of `feeds`, on this shard. None runs ahead into the next chunk: its rows
    /// would come before the others' end.
    pub(crate) fn is_turn_of(&self, feed: usize, feeds: &[usize]) -> bool {
        match self.in_turn {
            true => feeds[self.ended_feeds.len()] == feed,
            false => !self.ended_feeds.contains(&feed),
        }
    }

    /// The feeding exchange `feed` has ended a chunk on this shard. When all have, the end to pass on.
    pub(crate) fn feed_ended(
        &mut self,
        feed: usize,
        end: ChunkEnd,
        feed_count: usize,
    ) -> Option<ChunkEnd> {
        self.ended_feeds.push(feed);
        self.feed_watermark_ms = self.feed_watermark_ms.min(end.watermark_ms);
        if self.ended_feeds.len() < feed_count {
            return None;
        }
        self.ended_feeds.clear();
        let watermark_ms = std::mem::replace(&mut self.feed_watermark_ms, i64::MAX);
        Some(ChunkEnd { watermark_ms, ..end })
    }
}

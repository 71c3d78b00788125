//! What stands on the two sides of an exchange: who sends, and who owns keys.

use std::sync::Arc;

use super::super::row_windows;
use super::{Exchange, Feeds, Owner};
use crate::op::Receiver;
use crate::op::process::ProcessOwner;
use crate::op::send::AggregateSender;
use crate::op::sender::{RowSender, Sender};
use crate::op::session::Session;
use crate::op::trigger::Trigger;
use crate::op::window_aggregate::WindowAggregate;
use crate::state::{Pages, Saved};

impl Exchange {
    /// Whether sessions may be in bulk: what lies there is not saved, and comes out in no order, which would show behind another exchange.
    fn suits_bulk(&self, is_durable: bool) -> bool {
        let is_end = matches!(self.owner, Owner::Session) && self.is_end;
        is_end && !is_durable && Session::suits_bulk(&self.shape, &self.send.window)
    }

    /// What stands before it, one a shard.
    pub(crate) fn sender(&self, shard_count: usize, is_durable: bool) -> Sender {
        let shape = Arc::clone(&self.shape);
        match self.owner {
            Owner::Process(_) => Sender::Rows(Box::new(RowSender::new(shape, shard_count))),
            _ => {
                let sender = AggregateSender::new(shape, self.send.clone(), shard_count);
                Sender::Aggregate(Box::new(match self.suits_bulk(is_durable) {
                    true => sender.packing_sessions(),
                    false => sender,
                }))
            }
        }
    }

    /// The operator itself, one a shard, over `pages`; it goes on from `header` if there is one.
    pub(crate) fn receiver(&self, pages: Pages, header: Option<&[u64]>) -> Box<dyn Receiver> {
        let (shape, window) = (Arc::clone(&self.shape), &self.send.window);
        let (instant_time, send) = (self.instant_time, &self.send);
        let mut saved = header.map(Saved::new);
        match &self.owner {
            &Owner::Aggregate(stage) => {
                let owner = WindowAggregate::new(
                    shape,
                    window,
                    send.per_window,
                    instant_time,
                    stage,
                    pages,
                );
                Box::new(match &mut saved {
                    Some(saved) => owner.restored(saved),
                    None => owner,
                })
            }
            Owner::Trigger => {
                let owner = Trigger::new(shape, window, instant_time, send.emit, pages);
                Box::new(match &mut saved {
                    Some(saved) => owner.restored(saved),
                    None => owner,
                })
            }
            Owner::Session => {
                let in_bulk = self.suits_bulk(pages.is_durable());
                let owner = Session::new(shape, window, instant_time, pages);
                let owner = if in_bulk { owner.in_bulk() } else { owner };
                let owner = match &self.feeds {
                    Feeds::Scans(_) => owner.in_order(),
                    Feeds::Exchanges(_) => owner,
                };
                Box::new(match &mut saved {
                    Some(saved) => owner.restored(saved),
                    None => owner,
                })
            }
            Owner::Count | Owner::Global => row_windows::receiver(self, pages, saved),
            Owner::Process(plan) => {
                let owner = ProcessOwner::new(plan, pages);
                Box::new(match &mut saved {
                    Some(saved) => owner.restored(saved),
                    None => owner,
                })
            }
        }
    }
}

//! Kills real processes and looks at what they have published.
//!
//! A job that keeps state is started, killed (SIGKILL) at a named crash point or after a random time, and started again with the same
//! command, up to its end. Whatever was visible at any death must be part of the undisturbed run's rows and stay visible, and at the end
//! the two must be equal as multisets. A kill counts only if a snapshot became durable since the last start.
//!
//! | module | does |
//! |---|---|
//! | `jobs`, `input` | scripts and their inputs |
//! | `process` | one run of the binary |
//! | `published` | reads what is there |
//! | `points` | crash points: which there are, and which have had their kill |
//! | `round` | one job from its start to its end, with all kills between |
//! | `socket` | the same for a job that listens at a durable socket, with clients |
//! | [`campaign`] | rounds until there have been enough kills |
//!
//! # Invariants
//!
//! 1. The binary is a black box: it is driven by its command line and the environment variables of crash points, and judged by files.
//! 2. Kills at points and what a round decides depend on the seed; kills by time, of course, on the machine too.

pub mod campaign;
pub mod input;
pub mod jobs;
pub mod points;
mod process;
mod published;
pub mod random;
mod round;
mod socket;

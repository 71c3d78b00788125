//! Channels: threads of the program, room, ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidemill::job::RuntimeKind;
use tidemill::source::{Ended, TrySendError};
use tidemill::{Job, Options, channel};

use crate::{ArchivedEvent, EVENTS, Event, Shown, event, job, live, plain};

#[test]
fn many_threads_send() {
    for (shards, runtime) in
        [(1, RuntimeKind::Poll), (3, RuntimeKind::Poll), (2, RuntimeKind::Sim(1))]
    {
        let (sender, source) = channel::<Event>(300);
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for index in (thread..EVENTS).step_by(3) {
                        sender.send(event(index)).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let shown = Shown::default();
        let options = Options::default().shards(shards).runtime(runtime);
        let report = live(source, &options, &shown);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(report.failure.is_none(), "{:?}", report.failure);
        assert_eq!(shown.sums(), plain((0..EVENTS).map(event)));
    }
}

#[test]
fn a_channel_holds_as_much_as_it_may() {
    let (sender, source) = channel::<Event>(100);
    (0..100).for_each(|index| sender.try_send(event(index)).unwrap());
    assert_eq!(sender.try_send(event(100)), Err(TrySendError::Full(event(100))));
    drop(source);
    assert_eq!(sender.try_send(event(100)), Err(TrySendError::Ended(event(100))));
    assert_eq!(sender.send(event(100)), Err(Ended(event(100))));
}

#[test]
fn a_slow_job_holds_senders_up() {
    const CAPACITY: usize = 50;
    let (sender, source) = channel::<Event>(CAPACITY);
    let done = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&done);
    let feeder = std::thread::spawn(move || {
        let mut most = 0;
        for index in 0..2000 {
            sender.send(event(index)).unwrap();
            most = most.max(index as usize + 1 - seen.load(Ordering::SeqCst).min(index as usize));
        }
        most
    });
    let each = move |_: &ArchivedEvent| {
        std::thread::sleep(Duration::from_micros(100));
        done.fetch_add(1, Ordering::SeqCst);
    };
    let job = Job::new("slow").source("events", source).processing_time().sink(each);
    job.run(Options::default().shards(1)).unwrap();
    let most = feeder.join().unwrap();
    // What waits in the channel, and the chunks that were taken from it and are under way.
    assert!((CAPACITY..=6 * CAPACITY).contains(&most), "{most} records were under way");
}

#[test]
fn a_record_waits_for_no_other() {
    let (sender, source) = channel::<Event>(1000);
    let (seen, sees) = mpsc::channel();
    let each = move |event: &ArchivedEvent| seen.send(event.value.to_native()).unwrap();
    let feeder = std::thread::spawn(move || {
        for index in 0..20 {
            sender.send(event(index)).unwrap();
            assert_eq!(sees.recv_timeout(Duration::from_secs(10)), Ok(index));
        }
        assert_eq!(sender.flush(), Ok(20));
    });
    let job = Job::new("prompt").source("events", source).processing_time().sink(each);
    job.run(Options::default().shards(2)).unwrap();
    feeder.join().unwrap();
}

#[test]
fn who_sends_to_a_job_that_has_ended_is_told() {
    let (sender, source) = channel::<Event>(10);
    let launch = job(source, &Shown::default()).launch(&Options::default().shards(2)).unwrap();
    let control = launch.control();
    let feeder = std::thread::spawn(move || {
        sender.send(event(1)).unwrap();
        sender.flush().unwrap();
        control.stop();
        let mut index = 2;
        while sender.send(event(index)).is_ok() {
            index += 1;
        }
        (sender.send(event(-1)), sender.flush())
    });
    let report = launch.run();
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!(feeder.join().unwrap(), (Err(Ended(event(-1))), Err(Ended(()))));
}

#[test]
fn a_channel_leads_to_one_run() {
    let (sender, source) = channel::<Event>(10);
    let job = job(source, &Shown::default());
    drop(sender);
    job.run(Options::default().shards(1)).unwrap();
    let failure = job.run(Options::default().shards(1)).unwrap_err().to_string();
    assert!(failure.contains("this is the second"), "{failure}");
}

//! Ours as a contestant: the typed builder over records, SQL over text.

use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Float64Array, Int64Array, StringViewArray};
use peer_clicks::{Answer, Task, fail, stream_clicks};
use tidemill::batch::{Batch, Schema};
use tidemill::connector::{Sink, SinkPart};
use tidemill::error::JobError;
use tidemill::job::Launch;
use tidemill::sys::clock::Clock;
use tidemill::{RecordFile, Records};

use super::contestants;
use crate::typed::{self, Click};
use crate::{TABLE, WORKLOADS, script};

/// Runs the task and reports.
pub(super) fn run(task: &Task) {
    if !contestants::WORKLOADS.contains(&task.workload.as_str()) {
        task.unknown();
    }
    let failed = |error: &dyn std::fmt::Display| -> ! { fail(&format!("{}: {error}", task.data)) };
    let (rows, seconds, answer) = match task.input.as_str() {
        "memory" => {
            let clicks = stream_clicks(&task.data).unwrap_or_else(|error| failed(&error));
            let mut rows = 0;
            let source = Records::new(clicks.inspect(|_| rows += 1).map(Click::from));
            let (seconds, answer) = typed::run(&task.workload, source, task.shards);
            (rows, seconds, answer)
        }
        "records" => {
            let source =
                RecordFile::<Click>::open(&task.data).unwrap_or_else(|error| failed(&error));
            typed::run_counted(&task.workload, source, task.shards)
        }
        _ => sql(task),
    };
    task.report(rows as usize, seconds, &answer);
}

/// A script with its sink exchanged for one that adds up: rows read, seconds, answer.
fn sql(task: &Task) -> (u64, f64, Answer) {
    let script = WORKLOADS.iter().find(|(name, _)| *name == task.workload);
    let (name, query) = script.expect("there is a script for each workload of a contestant");
    let table = TABLE.replace("$PATH", &task.data).replace("$FORMAT", &task.input);
    let total = Arc::new(Mutex::new(Answer::default()));
    let sink: Arc<dyn Sink> = Arc::new(AddsUp { workload: name, total: Arc::clone(&total) });
    let watch = Clock.start();
    let plan = script::plan(&(table + query), &sink).unwrap_or_else(|error| fail(&error));
    let report = Launch::new(&plan, Some(task.shards), None)
        .and_then(|launch| launch.run().outcome())
        .unwrap_or_else(|error| fail(&error.to_string()));
    let seconds = watch.elapsed().as_secs_f64();
    let answer = *total.lock().expect("nobody panics here");
    (report.totals.rows, seconds, answer)
}

/// A sink that adds up.
#[derive(Clone, Debug)]
struct AddsUp {
    workload: &'static str,
    total: Arc<Mutex<Answer>>,
}

impl Sink for AddsUp {
    fn accepts_changes(&self) -> bool {
        false
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(Part { sink: self.clone(), answer: Answer::default() }))
    }
}

struct Part {
    sink: AddsUp,
    answer: Answer,
}

impl SinkPart for Part {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        let column = |index: usize| batch.columns[index].as_ref();
        let text = |index: usize| -> &StringViewArray { column(index).as_string_view() };
        let doubles =
            |index: usize| -> &Float64Array { column(index).as_primitive::<Float64Type>() };
        let longs = |index: usize| -> &Int64Array { column(index).as_primitive::<Int64Type>() };
        let answer = &mut self.answer;
        if self.sink.workload == "w0" {
            let (pages, amounts) = (text(0), doubles(1));
            for row in 0..batch.rows {
                answer.add_click(page(pages.value(row)) as u32, amounts.value(row));
            }
            return Ok(());
        }
        let (starts, keys, counts) = (longs(0).values(), text(1), longs(2).values());
        let keys = (0..batch.rows).map(|row| keys.value(row));
        let rows = starts.iter().zip(keys).zip(counts);
        let rows = rows.map(|((&start, key), &count)| (start, key, count as u64));
        match self.sink.workload {
            "w1" => {
                let [sums, maxima, means] = [3, 4, 5].map(|index| doubles(index).values());
                let values = sums.iter().zip(maxima).zip(means);
                for ((start, key, count), ((&sum, &max), &mean)) in rows.zip(values) {
                    answer.add_tumble(start, page(key), count, sum, max, mean);
                }
            }
            "w2" => {
                rows.for_each(|(start, key, count)| answer.add_visitors(start, page(key), count));
            }
            "w3" => rows.zip(doubles(3).values()).for_each(|((start, key, count), &sum)| {
                answer.add_sum(start, page(key), count, sum);
            }),
            _ => rows.zip(doubles(3).values()).for_each(|((start, key, count), &sum)| {
                answer.add_sum(start, device(key), count, sum);
            }),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        self.sink.total.lock().expect("nobody panics here").merge(&self.answer);
        Ok(())
    }
}

/// The number in `page-0166`.
fn page(text: &str) -> u64 {
    text.bytes().skip(5).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// The number that a device's 16 digits are.
fn device(text: &str) -> u64 {
    let (halves, _) = text.as_bytes().as_chunks::<8>();
    halves.iter().fold(0, |number, half| number << 32 | eight_digits(u64::from_be_bytes(*half)))
}

/// The number that eight digits are: of each byte its value, then pairs, then pairs of those.
fn eight_digits(digits: u64) -> u64 {
    let is_letter = digits >> 6 & 0x0101_0101_0101_0101;
    let values = (digits & 0x0f0f_0f0f_0f0f_0f0f) + 9 * is_letter;
    let bytes = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (pairs | pairs >> 16) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        assert_eq!(page("page-0166"), 166);
        assert_eq!(device("488c7b75a9e38615"), 0x488c_7b75_a9e3_8615);
    }
}

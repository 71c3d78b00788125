//! A program that runs a script: clicks by page and minute.

use std::io::stdout;

use tidemill::connector::{Output, Style};
use tidemill::job::{Launch, bind};

const SCRIPT: &str = "
CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'datagen', 'profile' = 'clicks', 'number-of-rows' = '1200000', 'pages' = '100');
SELECT window_start, page, COUNT(*) AS clicks
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, page;";

fn main() {
    let output = Output::new(Box::new(stdout()), Style::JsonLines);
    let script = bind(SCRIPT, &output, &[]).unwrap();
    let report = Launch::new(&script.plan, None, None).unwrap().run();
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert!(report.totals.rows_out >= 100, "{:?}", report.totals);
}

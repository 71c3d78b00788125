-- Unique visitors of each page, exactly, with a result every minute: the main job.
--
--   cargo run --release -- run examples/uv.sql
--
-- Needs no data: the clicks are generated. To run it on a file of yours instead:
--
--   tidemill generate clicks --rows 5000000 --format csv --out clicks.csv
--   tidemill run examples/uv.sql --table clicks.connector=filesystem \
--     --table clicks.path=clicks.csv --table clicks.format=csv

-- 18 million clicks at 20,000 a second of event time: 15 minutes of a day. They are up to 4 seconds
-- out of order, so the watermark stays 5 seconds behind the newest.
CREATE TABLE clicks (
  ts      TIMESTAMP(3),
  page    STRING,
  device  STRING,
  action  STRING,
  amount  DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'datagen',
  'profile' = 'clicks',
  'number-of-rows' = '18000000'
);

-- Where results go. As they change while the day goes on, a row comes as an update:
-- +I first, then -U (the old version) and +U (the new one).
CREATE TABLE visitors (
  window_start TIMESTAMP(3),
  page         STRING,
  last_click   TIMESTAMP(3),
  clicks       BIGINT,
  uv           BIGINT
) WITH ('connector' = 'print');

-- A window of a day, shown early every minute ...
SET 'table.exec.emit.early-fire.enabled' = 'true';
SET 'table.exec.emit.early-fire.delay' = '60 s';
-- ... of event time, not of the machine's clock: a replay of a day gives the same curve every time.
SET 'tidemill.emit.early-fire.clock' = 'event-time';

-- COUNT(DISTINCT …) is exact, not estimated. Leave out the WHERE to see all 1,000 pages.
INSERT INTO visitors
SELECT TUMBLE_START(ts, INTERVAL '1' DAY), page, MAX(ts), COUNT(*), COUNT(DISTINCT device)
FROM clicks
WHERE page IN ('page-0000', 'page-0100')
GROUP BY TUMBLE(ts, INTERVAL '1' DAY), page;

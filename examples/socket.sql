-- Live rows over TCP: many clients send lines of CSV, windows of ten seconds count them.
--
--   cargo run --release -- run examples/socket.sql
--
-- and in another terminal (any number of them):
--
--   printf '2024-01-01 00:00:01,kitchen,21.5\n2024-01-01 00:00:12,kitchen,22.5\n' | nc -N localhost 9911
--
-- The second line is later than the end of the first one's window, so the window is shown at once. The job
-- runs until Ctrl-C. A window that is still open then is not shown, because it is not complete.

CREATE TABLE readings (
  sent     TIMESTAMP(3),
  room     STRING,
  celsius  DOUBLE,
  -- A row without a time would stop the job, as in Flink. A live source meets everything, so such a row
  -- is sent to 1970, and passed over below.
  ts AS COALESCE(sent, TIMESTAMP '1970-01-01 00:00:00'),
  -- The watermark follows the newest row; a row whose window has been shown is late, and counted.
  WATERMARK FOR ts AS ts
) WITH (
  'connector' = 'socket',
  'mode' = 'listen',
  -- Only this machine can connect unless 'allow-remote' = 'true' is added.
  'hostname' = 'localhost',
  'port' = '9911',
  'format' = 'csv',
  -- What cannot be read is NULL.
  'csv.ignore-parse-errors' = 'true'
);

SELECT window_start, room, COUNT(*) AS readings, AVG(celsius) AS celsius
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE sent IS NOT NULL
GROUP BY window_start, window_end, room;

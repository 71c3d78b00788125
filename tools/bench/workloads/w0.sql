-- W0 parse: filter only.
CREATE TABLE results (page STRING, amount DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT page, amount FROM clicks WHERE action = 'view';

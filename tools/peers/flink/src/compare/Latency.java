package compare;

import java.io.PrintStream;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;

/**
 * Apache Flink on what `latency` sends over a socket: a MiniCluster of one slot, heap state, a checkpoint a second. Each result is a line of
 * standard output at once: the window's start in milliseconds, the key's number, the count.
 *
 * What makes Flink wait is turned down: watermarks and buffers go on every millisecond, instead of every 200 and 100.
 */
public class Latency {
    private static final String QUERY =
            "SELECT window_start, page, COUNT(*), SUM(amount) FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))"
                    + " GROUP BY window_start, window_end, page";

    public static void main(String[] args) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", "1");
        settings.setString("restart-strategy.type", "none");
        settings.setString("table.local-time-zone", "UTC");
        settings.setString("state.backend.type", "hashmap");
        settings.setString("execution.checkpointing.interval", "1 s");
        settings.setString("execution.checkpointing.dir", "file://" + args[1]);
        settings.setString("pipeline.auto-watermark-interval", "1 ms");
        settings.setString("execution.buffer-timeout.interval", "1 ms");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        DataStream<Row> clicks =
                environment
                        .socketTextStream("127.0.0.1", Integer.parseInt(args[0]))
                        .map(Latency::click)
                        .returns(Types.ROW_NAMED(new String[] {"ts", "page", "amount"}, Types.LOCAL_DATE_TIME, Types.STRING, Types.DOUBLE));
        Schema schema =
                Schema.newBuilder()
                        .column("ts", "TIMESTAMP(3)")
                        .column("page", "STRING")
                        .column("amount", "DOUBLE")
                        .watermark("ts", "ts - INTERVAL '0.001' SECOND")
                        .build();
        tables.createTemporaryView("clicks", clicks, schema);
        tables.toDataStream(tables.sqlQuery(QUERY)).map(Latency::show).returns(Types.LONG).sinkTo(new DiscardingSink<>());
        environment.execute();
        Runtime.getRuntime().halt(0);
    }

    /** A line: `1970-01-01 00:00:00.999,page-0999,99.25`. */
    private static Row click(String line) {
        int page = line.indexOf(','), amount = line.indexOf(',', page + 1);
        LocalDateTime time =
                LocalDateTime.of(1970, 1, digits(line, 8, 10), digits(line, 11, 13), digits(line, 14, 16), digits(line, 17, 19))
                        .plusNanos(digits(line, 20, 23) * 1_000_000L);
        return Row.of(time, line.substring(page + 1, amount), Double.parseDouble(line.substring(amount + 1)));
    }

    private static int digits(String line, int from, int to) {
        return Integer.parseInt(line, from, to, 10);
    }

    private static final PrintStream OUT = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false);

    /** Shows a result; the reader takes the time. */
    private static Long show(Row result) {
        long start = ((LocalDateTime) result.getField(0)).toInstant(ZoneOffset.UTC).toEpochMilli();
        OUT.print(start + " " + digits((String) result.getField(1), 5, 9) + " " + result.getField(2) + "\n");
        OUT.flush();
        return start;
    }
}

package compare;

import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.connector.sink.SinkV2Provider;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableSinkFactory;
import org.apache.flink.table.factories.FactoryUtil;

/**
 * The connector 'adds-up': the same answer as peer-clicks (tools/peers/clicks/src/answer.rs), from the engine's own rows, without making
 * objects of them. All sinks of a process add to the same totals: its jobs run one after the other.
 */
public class AddsUp implements DynamicTableSinkFactory {
    static final AtomicLong ROWS = new AtomicLong(), COUNTS = new AtomicLong(), CENTS = new AtomicLong(), HASH = new AtomicLong();
    static final ConfigOption<String> WORKLOAD = ConfigOptions.key("workload").stringType().noDefaultValue();

    static void reset() {
        for (AtomicLong total : new AtomicLong[] {ROWS, COUNTS, CENTS, HASH}) {
            total.set(0);
        }
    }

    public String factoryIdentifier() {
        return "adds-up";
    }

    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(WORKLOAD);
    }

    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of();
    }

    public DynamicTableSink createDynamicTableSink(Context context) {
        FactoryUtil.TableFactoryHelper helper = FactoryUtil.createTableFactoryHelper(this, context);
        helper.validate();
        return new Table(helper.getOptions().get(WORKLOAD));
    }

    record Table(String workload) implements DynamicTableSink {
        public ChangelogMode getChangelogMode(ChangelogMode requested) {
            return ChangelogMode.insertOnly();
        }

        public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
            return SinkV2Provider.of(new Rows(workload));
        }

        public DynamicTableSink copy() {
            return this;
        }

        public String asSummaryString() {
            return "adds-up";
        }
    }

    record Rows(String workload) implements Sink<RowData> {
        public SinkWriter<RowData> createWriter(WriterInitContext context) {
            return new Writer(workload);
        }
    }

    /** Adds up by itself, and to the totals at its end. */
    static class Writer implements SinkWriter<RowData> {
        private final String workload;
        private long rows, counts, cents, hash;

        Writer(String workload) {
            this.workload = workload;
        }

        public void write(RowData row, Context context) {
            if (workload.equals("w0")) {
                long amount = cents(row.getDouble(1));
                add(1, amount, page(row, 0), amount);
                return;
            }
            long start = row.getTimestamp(0, 3).getMillisecond(), count = row.getLong(2);
            if (workload.equals("w2")) {
                add(count, 0, start, page(row, 1), count);
                return;
            }
            long key = workload.equals("w1") || workload.equals("w3") ? page(row, 1) : device(row, 1);
            long sum = cents(row.getDouble(3));
            if (workload.equals("w1")) {
                long average = (long) (row.getDouble(5) * 1000.0 + 0.1234);
                add(count, sum, start, key, count, sum, cents(row.getDouble(4)), average);
            } else {
                add(count, sum, start, key, count, sum);
            }
        }

        private void add(long count, long sum, long... fields) {
            long state = 0;
            for (long field : fields) {
                state = (state ^ field) * 0x9e3779b97f4a7c15L;
                state ^= state >>> 32;
            }
            rows += 1;
            counts += count;
            cents += sum;
            hash += state;
        }

        private static long cents(double amount) {
            return (long) (amount * 100.0 + 0.5);
        }

        /** The number in `page-0166`. */
        private static long page(RowData row, int column) {
            byte[] text = row.getString(column).toBytes();
            long number = 0;
            for (int index = 5; index < text.length; index++) {
                number = number * 10 + text[index] - '0';
            }
            return number;
        }

        /** The number that 16 hexadecimal digits are. */
        private static long device(RowData row, int column) {
            long number = 0;
            for (byte digit : row.getString(column).toBytes()) {
                number = number << 4 | (digit & 15) + 9 * (digit >> 6);
            }
            return number;
        }

        public void flush(boolean isEnd) {}

        public void close() {
            ROWS.addAndGet(rows);
            COUNTS.addAndGet(counts);
            CENTS.addAndGet(cents);
            HASH.addAndGet(hash);
        }
    }
}

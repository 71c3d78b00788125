package compare;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Apache Flink on the workloads' own scripts: a MiniCluster in this process, heap state, no checkpoints, one input file a subtask.
 *
 * Timed is a job from its submission to its end, less the same job over the first 1,000 rows, run twice before in the same JVM: so neither
 * starting the JVM nor loading classes counts.
 */
public class Compare {
    private static final int WARM_LINES = 500;

    public static void main(String[] args) throws Exception {
        Map<String, String> task = new HashMap<>();
        for (int index = 0; index + 1 < args.length; index += 2) {
            task.put(args[index], args[index + 1]);
        }
        Path data = Path.of(task.get("--data")), warm = head(data);
        job(task, warm);
        double few = job(task, warm);
        double all = job(task, data);
        System.out.printf(
                Locale.ROOT,
                "{\"workload\":\"%s\",\"rows\":%s,\"seconds\":%.6f,\"results\":%d,\"counts\":%d,\"cents\":%d,\"hash\":\"%016x\",\"startup_seconds\":%.6f}%n",
                task.get("--workload"), task.get("--rows"), Math.max(all - few, 1e-6), AddsUp.ROWS.get(), AddsUp.COUNTS.get(),
                AddsUp.CENTS.get(), AddsUp.HASH.get(), few);
        System.out.flush();
        // The cluster's threads would keep the process for a while.
        Runtime.getRuntime().halt(0);
    }

    /** A folder with the first lines of each file. */
    private static Path head(Path data) throws IOException {
        Path folder = Files.createDirectories(data.resolveSibling(data.getFileName() + ".head"));
        List<Path> files;
        try (Stream<Path> list = Files.list(data)) {
            files = list.collect(Collectors.toList());
        }
        for (Path file : files) {
            try (BufferedReader reader = Files.newBufferedReader(file)) {
                Files.write(folder.resolve(file.getFileName()), reader.lines().limit(WARM_LINES).collect(Collectors.toList()));
            }
        }
        return folder;
    }

    /** Runs the workload over a folder; its seconds. */
    private static double job(Map<String, String> task, Path data) throws Exception {
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", task.get("--shards"));
        settings.setString("restart-strategy.type", "none");
        settings.setString("table.local-time-zone", "UTC");
        settings.setString("state.backend.type", "hashmap");
        TableEnvironment tables =
                TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        String workload = task.get("--workload");
        String script = Files.readString(Path.of(task.get("--queries"), workload + ".sql"));
        script = script.replaceAll("(?m)^--.*$", "").replace("'connector' = 'blackhole'", "'connector' = 'adds-up', 'workload' = '" + workload + "'");
        tables.executeSql(task.get("--table").replace("$PATH", data.toString()).replace("$FORMAT", task.get("--input")).replace(";", ""));
        AddsUp.reset();
        double seconds = 0;
        for (String statement : script.split(";")) {
            if (!statement.isBlank()) {
                long start = System.nanoTime();
                var result = tables.executeSql(statement.strip());
                if (statement.strip().startsWith("INSERT")) {
                    result.await();
                    seconds = (System.nanoTime() - start) / 1e9;
                }
            }
        }
        return seconds;
    }
}

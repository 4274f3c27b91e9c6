// Runs the statements of standard input with Flink in this process, one after the other. Prints the rows of each as JSON,
// one a line, by column name, and when it has ended a line with a semicolon. What JSON has no type for: instants are
// milliseconds since the epoch, dates and local times ISO text, decimals their text, bytes hexadecimal text.
import java.math.BigDecimal;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Map;
import java.util.StringJoiner;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;

public class Sql {
  public static void main(String[] args) throws Exception {
    var settings = new Configuration();
    settings.setString("parallelism.default", "1");
    var flink = TableEnvironment.create(
        EnvironmentSettings.newInstance().withConfiguration(settings).inStreamingMode().build());
    var script = new String(System.in.readAllBytes(), "UTF-8");
    for (String statement : script.split(";\\s*\n")) {
      if (statement.isBlank()) continue;
      var result = flink.executeSql(statement);
      // Of a statement without rows there is one that says OK.
      boolean rows = statement.stripLeading().startsWith("SELECT");
      try (var each = result.collect()) {
        while (each.hasNext()) {
          Row row = each.next();
          if (rows) System.out.println(json(row));
        }
      }
      System.out.println(";");
    }
  }

  private static String json(Object value) {
    if (value instanceof Row row) {
      var fields = new StringJoiner(",", "{", "}");
      for (String name : row.getFieldNames(true)) fields.add(text(name) + ":" + json(row.getField(name)));
      return fields.toString();
    }
    if (value instanceof Map<?, ?> map) {
      var entries = new StringJoiner(",", "{", "}");
      map.forEach((key, item) -> entries.add(text(key) + ":" + json(item)));
      return entries.toString();
    }
    if (value instanceof byte[] bytes) return text(HexFormat.of().formatHex(bytes));
    if (value instanceof Object[] items) {
      var list = new StringJoiner(",", "[", "]");
      for (Object item : items) list.add(json(item));
      return list.toString();
    }
    if (value instanceof Float number) return Double.toString(number);
    if (value instanceof Instant time) return String.valueOf(time.toEpochMilli());
    if (value instanceof BigDecimal number) return text(number.toPlainString());
    if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
    return text(value);
  }

  private static String text(Object value) {
    return '"' + value.toString().replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }
}

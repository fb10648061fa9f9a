package ntmfw;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The users' guide compiles, snippet by snippet. */
class GuideTest {
    private static final Path GUIDE = Path.of(System.getProperty("basedir"), "..", "..", "docs", "java.md");
    private static final Pattern SNIPPET = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);
    private static final String AROUND = """
        import java.io.*;
        import java.net.*;
        import java.nio.channels.*;
        import java.nio.file.Path;
        import java.sql.Connection;
        import java.sql.DriverManager;
        import java.util.Properties;
        import javax.net.ssl.*;
        import ntmfw.*;
        class Snippet {
            void run() throws Exception {
        %s
            }
        }
        """;

    @TempDir
    Path directory;

    @Test
    void everySnippetCompiles() throws IOException {
        List<String> snippets = SNIPPET.matcher(Files.readString(GUIDE)).results()
            .map((MatchResult found) -> found.group(1)).toList();
        assertTrue(snippets.size() >= 8, snippets.size() + " snippets");
        for (String snippet : snippets) {
            assertEquals("", complaints(snippet), snippet);
        }
    }

    private String complaints(String snippet) {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter complaints = new StringWriter();
        List<String> options = List.of("-d", directory.toString(), "-cp", System.getProperty("java.class.path"));
        JavaFileObject source = new Source(AROUND.formatted(snippet));
        boolean compiled = compiler.getTask(complaints, null, null, options, null, List.of(source)).call();
        return compiled ? "" : complaints.toString();
    }

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String text) {
            super(URI.create("string:///Snippet.java"), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }
}

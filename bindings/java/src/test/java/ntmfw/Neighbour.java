package ntmfw;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/** A process of its own that is another node; {@code a.ntm.example} with {@link Peer} is there for all tests. */
final class Neighbour implements BeforeAllCallback, AutoCloseable {
    /** The node that all tests talk to. */
    static final String NAME = "a.ntm.example";

    /** What a test may take on a machine that does much else. */
    static final int PATIENCE_SECONDS = 300;

    private static final Path NODES = Path.of(System.getenv("NTMFW_TEST_NODES"));

    private Process process;

    @Override
    public void beforeAll(ExtensionContext context) {
        context.getRoot().getStore(ExtensionContext.Namespace.GLOBAL)
            .getOrComputeIfAbsent(NAME, name -> start("a", Peer.class));
    }

    /** Starts a program as a node and waits until it says that it is ready. */
    static Neighbour start(String node, Class<?> program, String... arguments) {
        Neighbour neighbour = new Neighbour();
        try {
            neighbour.process = java(node, program, arguments).redirectError(ProcessBuilder.Redirect.INHERIT).start();
            BufferedReader output = neighbour.process.inputReader(StandardCharsets.UTF_8);
            if (!Peer.READY.equals(output.readLine())) {
                throw new IllegalStateException(program + " did not become ready as node " + node);
            }
        } catch (IOException failure) {
            throw new IllegalStateException(failure);
        }
        return neighbour;
    }

    /** A Java program as a node, with the calls that these tests use. */
    static ProcessBuilder java(String node, Class<?> program, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Dntmfw.library.path=" + System.getProperty("ntmfw.library.path"),
            "-Dntmfw.calls=" + System.getProperty("ntmfw.calls"),
            "-cp", System.getProperty("java.class.path"), program.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().put("NTMFW_CONFIG", configuration(node).toString());
        return builder;
    }

    static Path configuration(String node) {
        return NODES.resolve(node).resolve("config.toml");
    }

    long id() {
        return process.pid();
    }

    @Override
    public void close() throws IOException {
        process.getOutputStream().close();
        try {
            if (!process.waitFor(5, TimeUnit.SECONDS)) {
                process.destroyForcibly().waitFor();
            }
        } catch (InterruptedException interrupted) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}

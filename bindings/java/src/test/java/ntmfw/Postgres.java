package ntmfw;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** A PostgreSQL server on the host's own loopback, in a directory that is empty yet. */
final class Postgres implements AutoCloseable {
    private static final Path VERSIONS = Path.of("/usr/lib/postgresql");

    private final Process server;
    private final int port;

    Postgres(Path data) throws IOException, InterruptedException {
        Path programs = newest();
        run(programs.resolve("initdb"), "-D", data.toString(), "-U", "postgres", "-A", "trust", "--no-sync");
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        Path log = data.resolve("server.log");
        server = new ProcessBuilder(unprivileged(programs.resolve("postgres"), "-D", data.toString(), "-p",
            Integer.toString(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"))
            .redirectErrorStream(true).redirectOutput(log.toFile()).start();
        Eventually.assertEquals(true, () -> {
            String said = Files.readString(log);
            if (!server.isAlive()) {
                throw new IllegalStateException(said);
            }
            return said.contains("ready to accept connections");
        });
    }

    int port() {
        return port;
    }

    private static Path newest() throws IOException {
        try (Stream<Path> versions = Files.list(VERSIONS)) {
            return versions.max(Path::compareTo).orElseThrow().resolve("bin");
        }
    }

    /** As nobody: PostgreSQL runs neither as root, which tests are in their namespace, nor as who has no name. */
    private static List<String> unprivileged(Path program, String... arguments) {
        return Stream.concat(
            Stream.of("unshare", "--user", "--map-user=65534", "--map-group=65534", program.toString()),
            Stream.of(arguments)).toList();
    }

    private static void run(Path program, String... arguments) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(unprivileged(program, arguments)).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes());
        if (process.waitFor() != 0) {
            throw new IllegalStateException(said);
        }
    }

    @Override
    public void close() throws IOException {
        server.destroy();
        try {
            if (!server.waitFor(20, TimeUnit.SECONDS)) {
                server.destroyForcibly();
            }
        } catch (InterruptedException interrupted) {
            server.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }
}

package ntmfw;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.TimeUnit;

/**
 * Ends of measurements, which understand {@code benches/c/peer.c}:
 * {@code serve PORT}, {@code stream HOST PORT SECONDS}, and {@code leak HOST PORT COUNT} at a port that echoes.
 */
final class Measure {
    private static final int STREAM = 's';
    private static final int BLOCK = 64 << 10;
    private static final long WARMING = TimeUnit.SECONDS.toNanos(2);
    private static final int PARTS = 10;

    private Measure() {}

    public static void main(String[] arguments) throws IOException {
        switch (arguments[0]) {
            case "serve" -> serve(Integer.parseInt(arguments[1]));
            case "stream" -> stream(arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
            case "leak" -> leak(arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static void serve(int port) throws IOException {
        try (ServerSocket listening = new NTMServerSocket(port)) {
            System.out.println("serving");
            while (true) {
                try (Socket connection = listening.accept()) {
                    take(connection);
                }
            }
        }
    }

    private static void take(Socket connection) throws IOException {
        InputStream input = connection.getInputStream();
        if (input.read() == STREAM) {
            byte[] block = new byte[BLOCK];
            long total = 0;
            for (int got; (got = input.read(block)) > 0;) {
                total += got;
            }
            // Bytes, and the processor time that C tells there, which Java does not know.
            ByteBuffer report = ByteBuffer.allocate(2 * Double.BYTES).order(ByteOrder.nativeOrder());
            connection.getOutputStream().write(report.putDouble(total).putDouble(0).array());
        }
    }

    private static void stream(String host, int port, int seconds) throws IOException {
        try (Socket socket = new NTMSocket(host, port)) {
            OutputStream output = socket.getOutputStream();
            output.write(STREAM);
            send(output, WARMING);
            long begun = System.nanoTime();
            long total = send(output, TimeUnit.SECONDS.toNanos(seconds));
            double time = System.nanoTime() - begun;
            socket.shutdownOutput();
            socket.getInputStream().readAllBytes();
            System.out.printf(Locale.ROOT, "gbit=%.3f%n", total * Byte.SIZE / time);
        }
    }

    private static long send(OutputStream output, long nanoseconds) throws IOException {
        byte[] block = new byte[BLOCK];
        long until = System.nanoTime() + nanoseconds;
        long total = 0;
        while (System.nanoTime() < until) {
            output.write(block);
            total += block.length;
        }
        return total;
    }

    /** Fails where the second half of the connections left more behind than the first had. */
    private static void leak(String host, int port, int count) throws IOException {
        long[] memory = new long[PARTS];
        long[] descriptors = new long[PARTS];
        for (int part = 0; part < PARTS; part++) {
            for (int i = 0; i < count / PARTS; i++) {
                try (Socket socket = new NTMSocket(host, port)) {
                    socket.getOutputStream().write(i);
                    socket.getInputStream().read();
                }
            }
            System.gc();
            memory[part] = residentKilobytes();
            descriptors[part] = descriptors();
            System.out.printf("%d connections: %d kB, %d descriptors%n",
                count / PARTS * (part + 1), memory[part], descriptors[part]);
        }
        boolean grown = memory[PARTS - 1] > memory[PARTS / 2 - 1] * 11 / 10
            || descriptors[PARTS - 1] > descriptors[PARTS / 2 - 1] + 16;
        if (grown) {
            throw new IllegalStateException("more and more is kept");
        }
    }

    private static long residentKilobytes() throws IOException {
        String line = Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(candidate -> candidate.startsWith("VmRSS")).findFirst().orElseThrow();
        return Long.parseLong(line.replaceAll("\\D", ""));
    }

    private static int descriptors() {
        return new File("/proc/self/fd").list().length;
    }
}

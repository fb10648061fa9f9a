package ntmfw;

import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/** A program that tries something twice and says how that ends: mistakes of which a process can make only one. */
final class Attempt {
    private Attempt() {}

    public static void main(String[] arguments) {
        String first = attempt(arguments[0]);
        String second = attempt(arguments[0]);
        System.out.println(first.equals(second) ? first : "first " + first + ", but then " + second);
    }

    private static String attempt(String what) {
        try {
            if (what.equals("init")) {
                NTMfw.init();
            } else {
                try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
                    return "connected to " + socket;
                }
            }
            return "done";
        } catch (IOException | LinkageError failure) {
            return failure.toString();
        }
    }

    /** What such a program says. */
    static String run(ProcessBuilder builder) throws IOException, InterruptedException {
        Process process = builder.redirectErrorStream(true).start();
        process.getOutputStream().close();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        process.waitFor();
        return said;
    }
}

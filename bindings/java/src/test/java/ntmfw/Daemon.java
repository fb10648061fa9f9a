package ntmfw;

import java.io.IOException;

/** Work of a server that ends with its connection, or with the process. */
final class Daemon {
    private Daemon() {}

    /** Something that may end with a connection. */
    interface Work {
        void run() throws IOException;
    }

    static void start(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException over) {
                // The other end has gone.
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}

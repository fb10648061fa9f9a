package ntmfw;

import java.io.IOException;
import java.net.BindException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** Sockets that nobody closes and nobody can use any more are closed when their memory is collected. */
@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
class ForgottenTest {
    private static final int PORT = 40_321;

    /** Makes a socket at the port. */
    private interface Maker {
        AutoCloseable make() throws IOException;
    }

    /** Makes one that is forgotten, on a thread whose stack is gone afterwards. */
    private static void forget(Maker maker) throws InterruptedException {
        Thread thread = new Thread(() -> {
            try {
                maker.make();
            } catch (IOException failure) {
                throw new AssertionError(failure);
            }
        });
        thread.start();
        thread.join();
    }

    private static void assertThePortIsFreeAtLast(Maker maker) throws IOException {
        Eventually.assertEquals(true, () -> {
            System.gc();
            try (AutoCloseable second = maker.make()) {
                return second != null;
            } catch (BindException taken) {
                return false;
            } catch (Exception failure) {
                throw new IOException(failure);
            }
        });
    }

    @Test
    void aForgottenServerGivesItsPortBack() throws IOException, InterruptedException {
        forget(() -> new NTMServerSocket(PORT));
        assertThePortIsFreeAtLast(() -> new NTMServerSocket(PORT));
    }

    @Test
    void aForgottenDatagramSocketGivesItsPortBack() throws IOException, InterruptedException {
        forget(() -> new NTMDatagramSocket(PORT));
        assertThePortIsFreeAtLast(() -> new NTMDatagramSocket(PORT));
    }

    @Test
    void thePeerOfAForgottenStreamReadsItsEnd() throws IOException, InterruptedException {
        try (NTMServerSocket server = new NTMServerSocket(0)) {
            String name = NTMfw.localName();
            int port = server.getLocalPort();
            forget(() -> new NTMSocket(name, port));
            try (Socket accepted = server.accept()) {
                accepted.setSoTimeout(50);
                Eventually.assertEquals(-1, () -> {
                    System.gc();
                    try {
                        return accepted.getInputStream().read();
                    } catch (SocketTimeoutException nothingYet) {
                        return 0;
                    }
                });
            }
        }
    }
}

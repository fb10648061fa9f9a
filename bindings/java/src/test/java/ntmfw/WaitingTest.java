package ntmfw;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.net.DatagramPacket;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** Time limits, and closing under threads that wait. */
@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
@SuppressWarnings("try")
class WaitingTest {
    private static final int SOON = 50;

    @Test
    void aReaderIsToldWhenItsTimeIsOverAndMayGoOn() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            socket.setSoTimeout(SOON);
            assertEquals(SOON, socket.getSoTimeout());
            InputStream input = socket.getInputStream();
            assertThrows(SocketTimeoutException.class, input::read);
            socket.setSoTimeout(0);
            socket.getOutputStream().write(42);
            assertEquals(42, input.read());
        }
    }

    @Test
    void anAccepterIsToldWhenItsTimeIsOverAndTheNextReaderHasNoLimit() throws Exception {
        try (NTMServerSocket listening = new NTMServerSocket(0)) {
            listening.setSoTimeout(SOON);
            assertThrows(SocketTimeoutException.class, listening::accept);
            try (Socket socket = new NTMSocket(NTMfw.localName(), listening.getLocalPort());
                    Socket accepted = listening.accept()) {
                assertEquals(0, accepted.getSoTimeout());
                Background<Integer> reading = Background.start(accepted.getInputStream()::read);
                Waits.until(reading.thread(), "recv");
                assertThrows(SocketTimeoutException.class, listening::accept);
                assertTrue(reading.thread().isAlive());
                socket.getOutputStream().write(42);
                assertEquals(42, reading.result());
            }
        }
    }

    @Test
    void aReceiverOfDatagramsIsToldWhenItsTimeIsOver() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            socket.setSoTimeout(SOON);
            assertThrows(SocketTimeoutException.class, () -> socket.receive(new DatagramPacket(new byte[1], 1)));
        }
    }

    @Test
    void connectingIsGivenUpWhenItsTimeIsOver() throws Exception {
        try (Silenced silenced = new Silenced(); NTMSocket socket = new NTMSocket()) {
            assertThrows(SocketTimeoutException.class, () -> socket.connect(silenced.address(), SOON));
        }
    }

    @Test
    void closingWakesWhoConnects() throws Exception {
        try (Silenced silenced = new Silenced(); NTMSocket socket = new NTMSocket()) {
            Background<Void> connecting = Background.start(() -> {
                socket.connect(silenced.address());
                return null;
            });
            Waits.until(connecting.thread(), "connect");
            socket.close();
            assertEquals("Socket closed", assertThrows(SocketException.class, connecting::result).getMessage());
        }
    }

    @Test
    void closingWakesWhoReads() throws Exception {
        try (NTMSocket socket = new NTMSocket(Neighbour.NAME, Peer.SILENT)) {
            Background<Integer> reading = Background.start(socket.getInputStream()::read);
            Waits.until(reading.thread(), "recv");
            socket.close();
            assertEquals("Socket closed", assertThrows(SocketException.class, reading::result).getMessage());
        }
    }

    @Test
    void closingWakesWhoWrites() throws Exception {
        try (NTMSocket socket = new NTMSocket(Neighbour.NAME, Peer.SILENT)) {
            Background<Void> writing = Background.start(() -> {
                while (true) {
                    socket.getOutputStream().write(new byte[1 << 20]);
                }
            });
            // The first write alone is more than any buffer: when it stands still, it waits for room.
            Waits.until(writing.thread(), "send");
            socket.close();
            assertThrows(SocketException.class, writing::result);
        }
    }

    @Test
    void closingWakesWhoAccepts() throws Exception {
        try (NTMServerSocket listening = new NTMServerSocket(0)) {
            Background<Socket> accepting = Background.start(listening::accept);
            Waits.until(accepting.thread(), "accept4");
            listening.close();
            assertEquals("Socket closed", assertThrows(SocketException.class, accepting::result).getMessage());
        }
    }

    @Test
    void closingWakesWhoReceives() throws Exception {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            Background<Void> receiving = Background.start(() -> {
                socket.receive(new DatagramPacket(new byte[1], 1));
                return null;
            });
            Waits.until(receiving.thread(), "recvfrom");
            socket.close();
            assertEquals("Socket closed", assertThrows(SocketException.class, receiving::result).getMessage());
        }
    }

    /** A node whose program was stopped: it is known, and answers nothing. */
    private static final class Silenced implements AutoCloseable {
        private final Neighbour neighbour = Neighbour.start("c", Peer.class);

        Silenced() throws IOException, InterruptedException {
            new NTMSocket("c.ntm.example", Peer.ECHO).close();
            signal("STOP");
            Eventually.assertEquals(true, this::isStopped);
        }

        /** A signal is sent before every thread has seen it. */
        private boolean isStopped() throws IOException {
            try (Stream<Path> threads = Files.list(Path.of("/proc", Long.toString(neighbour.id()), "task"))) {
                for (Path thread : threads.toList()) {
                    String status = Files.readString(thread.resolve("stat"));
                    if (!status.substring(status.lastIndexOf(')')).startsWith(") T")) {
                        return false;
                    }
                }
                return true;
            }
        }

        InetSocketAddress address() throws IOException {
            return new InetSocketAddress(NTMfw.getByName("c.ntm.example"), Peer.ECHO);
        }

        private void signal(String name) throws IOException, InterruptedException {
            assertEquals(0, new ProcessBuilder("kill", "-" + name, Long.toString(neighbour.id())).start().waitFor());
        }

        @Override
        public void close() throws IOException {
            try {
                signal("CONT");
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
            neighbour.close();
        }
    }
}

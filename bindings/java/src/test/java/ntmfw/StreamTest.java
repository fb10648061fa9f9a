package ntmfw;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
class StreamTest {
    private static final int LARGE = 8 << 20;

    @Test
    void bytesGoThereAndBack() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            socket.getOutputStream().write("hello".getBytes(StandardCharsets.UTF_8));
            assertEquals("hello", new String(socket.getInputStream().readNBytes(5), StandardCharsets.UTF_8));
        }
    }

    @Test
    void largeAmountsGoBothWaysAtOnce() throws Exception {
        byte[] sent = new byte[LARGE];
        new Random(1).nextBytes(sent);
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            Background<Void> writing = Background.start(() -> {
                socket.getOutputStream().write(sent);
                socket.shutdownOutput();
                return null;
            });
            assertArrayEquals(sent, socket.getInputStream().readAllBytes());
            writing.result();
        }
    }

    @Test
    void anAddressThatJavaCannotResolveIsResolvedByTheLibrary() throws IOException {
        try (Socket socket = new NTMSocket()) {
            socket.connect(InetSocketAddress.createUnresolved(Neighbour.NAME, Peer.ECHO));
            assertTrue(socket.isConnected());
            assertEquals(Neighbour.NAME, socket.getInetAddress().getHostName());
        }
    }

    @Test
    void eachEndKnowsTheNameOfTheOther() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.WHO)) {
            assertEquals(Neighbour.NAME, socket.getInetAddress().getHostName());
            assertEquals(Neighbour.NAME, ((InetSocketAddress) socket.getRemoteSocketAddress()).getHostString());
            String caller = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertEquals(NTMfw.localName() + ":" + socket.getLocalPort(), caller);
            assertEquals(NTMfw.localName(), socket.getLocalAddress().getHostName());
        }
    }

    @Test
    void aServerAcceptsAndKnowsWhoCalled() throws IOException {
        try (NTMServerSocket listening = new NTMServerSocket(0);
                Socket order = new NTMSocket(Neighbour.NAME, Peer.CALL_BACK)) {
            new DataOutputStream(order.getOutputStream()).writeInt(listening.getLocalPort());
            try (Socket accepted = listening.accept()) {
                assertEquals(Neighbour.NAME, accepted.getInetAddress().getHostName());
                assertEquals(listening.getLocalPort(), accepted.getLocalPort());
                String greeting = new String(accepted.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                assertEquals(Peer.GREETING, greeting);
            }
        }
    }

    @Test
    void aHalfThatIsClosedLeavesTheOtherOpen() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.COUNT)) {
            socket.getOutputStream().write(new byte[100_000]);
            socket.shutdownOutput();
            assertTrue(socket.isOutputShutdown());
            assertEquals(100_000, new DataInputStream(socket.getInputStream()).readLong());
            assertEquals(-1, socket.getInputStream().read());
        }
    }

    @Test
    void aShutInputReadsAsTheEnd() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.SILENT)) {
            InputStream input = socket.getInputStream();
            socket.shutdownInput();
            assertEquals(-1, input.read());
            assertEquals(0, input.available());
        }
    }

    @Test
    void whatHasComeCanBeCounted() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            socket.getOutputStream().write(new byte[1_000]);
            socket.getInputStream().readNBytes(1);
            // The echo of one write may come in parts; the last of them ends the wait.
            Eventually.assertEquals(999, () -> socket.getInputStream().available());
        }
    }

    @Test
    void aNodeTalksToItself() throws IOException {
        try (NTMServerSocket listening = new NTMServerSocket(0);
                Socket socket = new NTMSocket(NTMfw.localName(), listening.getLocalPort());
                Socket accepted = listening.accept()) {
            accepted.getOutputStream().write(42);
            assertEquals(42, socket.getInputStream().read());
        }
    }

    @Test
    void anOrdinaryAddressIsTheSystems() throws Exception {
        try (ServerSocket listening = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"));
                Socket socket = new NTMSocket("127.0.0.1", listening.getLocalPort());
                Socket accepted = listening.accept()) {
            accepted.getOutputStream().write(42);
            assertEquals(42, socket.getInputStream().read());
            socket.getOutputStream().write(43);
            assertEquals(43, accepted.getInputStream().read());
        }
    }

    @Test
    void aThousandConnectionsAreOpenAtOnce() throws Exception {
        List<Socket> sockets = new ArrayList<>();
        try {
            for (int i = 0; i < 1_000; i++) {
                sockets.add(new NTMSocket(Neighbour.NAME, Peer.ECHO));
            }
            for (int i = 0; i < 1_000; i++) {
                new DataOutputStream(sockets.get(i).getOutputStream()).writeInt(i);
            }
            for (int i = 0; i < 1_000; i++) {
                assertEquals(i, new DataInputStream(sockets.get(i).getInputStream()).readInt());
            }
        } finally {
            for (Socket socket : sockets) {
                socket.close();
            }
        }
    }

    @Test
    void muchIsReadInSmallParts() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.SOURCE)) {
            new DataOutputStream(socket.getOutputStream()).writeLong(LARGE);
            assertEquals(LARGE, socket.getInputStream().transferTo(OutputStream.nullOutputStream()));
        }
    }
}

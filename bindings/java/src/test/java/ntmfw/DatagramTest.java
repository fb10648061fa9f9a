package ntmfw;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.PortUnreachableException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
@SuppressWarnings("try")
class DatagramTest {
    private static DatagramPacket packet(byte[] data) throws IOException {
        return new DatagramPacket(data, data.length, NTMfw.getByName(Neighbour.NAME), Peer.ECHO);
    }

    /** What comes back; datagrams may be lost anywhere, so it is asked again. */
    private static DatagramPacket exchange(DatagramSocket socket, DatagramPacket sent) throws IOException {
        DatagramPacket got = new DatagramPacket(new byte[64 << 10], 64 << 10);
        socket.setSoTimeout(1_000);
        for (int tries = 0; tries < 30; tries++) {
            socket.send(sent);
            try {
                socket.receive(got);
                return got;
            } catch (SocketTimeoutException lost) {
                continue;
            }
        }
        throw new AssertionError("no datagram comes back");
    }

    @Test
    void datagramsGoThereAndBackAndTheSenderHasItsName() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            DatagramPacket got = exchange(socket, packet("hello".getBytes(StandardCharsets.UTF_8)));
            assertEquals("hello", new String(got.getData(), 0, got.getLength(), StandardCharsets.UTF_8));
            assertEquals(Neighbour.NAME, got.getAddress().getHostName());
            assertEquals(Peer.ECHO, got.getPort());
        }
    }

    @Test
    void largeDatagramsArriveWhole() throws IOException {
        byte[] data = new byte[20_000];
        new Random(1).nextBytes(data);
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            DatagramPacket got = exchange(socket, packet(data));
            assertArrayEquals(data, Arrays.copyOf(got.getData(), got.getLength()));
        }
    }

    @Test
    void aPacketThatIsUsedAgainHasItsRoomAgain() throws IOException {
        try (NTMDatagramSocket here = new NTMDatagramSocket(); NTMDatagramSocket there = new NTMDatagramSocket()) {
            InetAddress own = NTMfw.getByName(NTMfw.localName());
            DatagramPacket got = new DatagramPacket(new byte[100], 100);
            for (int length : new int[] {3, 90, 1}) {
                there.send(new DatagramPacket(new byte[length], length, own, here.getLocalPort()));
                here.receive(got);
                assertEquals(length, got.getLength());
            }
            got.setLength(5);
            there.send(new DatagramPacket(new byte[50], 50, own, here.getLocalPort()));
            here.receive(got);
            assertEquals(5, got.getLength());
        }
    }

    @Test
    void aConnectedSocketTalksToOnePeer() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            socket.connect(InetSocketAddress.createUnresolved(Neighbour.NAME, Peer.ECHO));
            assertEquals(Neighbour.NAME, socket.getInetAddress().getHostName());
            DatagramPacket got = exchange(socket, new DatagramPacket(new byte[] {42}, 1));
            assertEquals(42, got.getData()[0]);
            Eventually.assertEquals(PathInfo.Kind.DIRECT, () -> socket.getPathInfo().kind());
            socket.disconnect();
            assertEquals(-1, socket.getPort());
        }
    }

    @Test
    void aPortThatNobodyHasIsToldToWhoIsConnected() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            socket.connect(NTMfw.getByName(Neighbour.NAME), 4_444);
            assertThrows(PortUnreachableException.class,
                () -> exchange(socket, new DatagramPacket(new byte[] {1}, 1)));
        }
    }

    @Test
    void optionsAreKept() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            socket.setReceiveBufferSize(100_000);
            assertEquals(100_000, socket.getReceiveBufferSize());
            socket.setOption(StandardSocketOptions.IP_TOS, 0x10);
            assertEquals(0x10, socket.getTrafficClass());
        }
    }

    @Test
    void whatCannotBeSaysSo() throws IOException {
        try (NTMDatagramSocket socket = new NTMDatagramSocket()) {
            byte[] tooLong = new byte[66_000];
            assertThrows(SocketException.class, () -> socket.send(packet(tooLong)));
            assertThrows(SocketException.class, () -> socket.connect(
                InetSocketAddress.createUnresolved("nobody.ntm.example", 1)));
            socket.close();
            assertThrows(SocketException.class, () -> socket.send(packet(new byte[1])));
        }
    }
}

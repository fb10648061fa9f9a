package ntmfw;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** What the library says of itself. */
@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
class NodeTest {
    @Test
    void aNodeKnowsItself() throws IOException {
        NTMfw.init();
        NTMfw.init(Neighbour.configuration("b"));
        assertEquals("b.ntm.example", NTMfw.localName());
        assertTrue(NTMfw.version().matches("\\d+\\.\\d+\\.\\d+"), NTMfw.version());
    }

    @Test
    void aNodeHasAddressesOfBothFamiliesThatKeepItsName() throws IOException {
        InetAddress[] addresses = NTMfw.getAllByName(Neighbour.NAME);
        assertEquals(2, addresses.length);
        for (InetAddress address : addresses) {
            assertEquals(Neighbour.NAME, address.getHostName());
            try (NTMSocket socket = new NTMSocket(address, Peer.ECHO)) {
                socket.getOutputStream().write(42);
                assertEquals(42, socket.getInputStream().read());
            }
        }
    }

    @Test
    void otherNamesAreTheSystems() throws IOException {
        assertArrayEquals(new byte[] {127, 0, 0, 1}, NTMfw.getByName("127.0.0.1").getAddress());
        assertTrue(NTMfw.getByName("localhost").isLoopbackAddress());
        assertTrue(NTMfw.getByName(null).isLoopbackAddress());
        assertThrows(UnknownHostException.class, () -> NTMfw.getByName("no such name"));
        assertThrows(IllegalArgumentException.class, () -> NTMfw.getByName("long".repeat(10_000)));
    }

    @Test
    void thePathOfASocketIsTold() throws IOException {
        try (NTMSocket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            Eventually.assertEquals(PathInfo.Kind.DIRECT, () -> {
                socket.getOutputStream().write(42);
                assertEquals(42, socket.getInputStream().read());
                return socket.getPathInfo().kind();
            });
            assertEquals("d0", socket.getPathInfo().networkInterface());
            assertTrue(NTMfw.status().contains("\"name\":\"" + Neighbour.NAME + '"'), NTMfw.status());
        }
    }

    @Test
    @SuppressWarnings("try")
    void eventsAreToldToOneListener() throws Exception {
        Queue<String> events = new ConcurrentLinkedQueue<>();
        NTMfw.onEvent(events::add);
        assertThrows(IOException.class, () -> NTMfw.onEvent(event -> {}));
        // A node that no other test has talked to: to be up is news only once.
        try (Neighbour node = Neighbour.start("e", Peer.class);
                NTMSocket socket = new NTMSocket("e.ntm.example", Peer.ECHO)) {
            assertTrue(socket.isConnected());
            Eventually.assertEquals(true, () -> events.stream()
                .anyMatch(event -> event.contains("\"peer up\"") && event.contains("e.ntm.example")));
        }
    }
}

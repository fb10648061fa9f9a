package ntmfw;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.StandardSocketOptions;
import jdk.net.ExtendedSocketOptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
class OptionsTest {
    @Test
    void optionsOfSocketsAreKept() throws IOException {
        try (NTMSocket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            socket.setTcpNoDelay(true);
            assertTrue(socket.getTcpNoDelay());
            socket.setKeepAlive(true);
            assertTrue(socket.getKeepAlive());
            socket.setSoLinger(true, 3);
            assertEquals(3, socket.getSoLinger());
            socket.setSoLinger(false, 0);
            assertEquals(-1, socket.getSoLinger());
            socket.setSendBufferSize(200_000);
            assertEquals(200_000, socket.getSendBufferSize());
            socket.setReuseAddress(true);
            assertTrue(socket.getReuseAddress());
            socket.setTrafficClass(0x10);
            assertEquals(0x10, socket.getTrafficClass());
            socket.setOOBInline(true);
            assertTrue(socket.getOOBInline());
        }
    }

    @Test
    void optionsAreAlsoKnownByTheirNewerNames() throws IOException {
        try (NTMSocket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO)) {
            assertFalse(socket.getOption(StandardSocketOptions.TCP_NODELAY));
            socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
            assertTrue(socket.getOption(StandardSocketOptions.TCP_NODELAY));
            socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 77);
            assertEquals(77, socket.getOption(ExtendedSocketOptions.TCP_KEEPIDLE));
            assertTrue(socket.supportedOptions().contains(StandardSocketOptions.SO_LINGER));
        }
    }

    @Test
    void optionsOfServerSocketsAreKept() throws IOException {
        try (NTMServerSocket listening = new NTMServerSocket()) {
            listening.setReceiveBufferSize(150_000);
            assertEquals(150_000, listening.getReceiveBufferSize());
            assertTrue(listening.getReuseAddress());
        }
    }
}

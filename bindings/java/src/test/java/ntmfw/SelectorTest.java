package ntmfw;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
class SelectorTest {
    private static final int CONNECTIONS = 8;
    private static final int BYTES = 300_000;

    /** One connection of a loop: what is to be sent, and what has come back. */
    private static final class Exchange {
        private final ByteBuffer sent;
        private final ByteArrayOutputStream got = new ByteArrayOutputStream();

        Exchange(long seed) {
            byte[] bytes = new byte[BYTES];
            new Random(seed).nextBytes(bytes);
            sent = ByteBuffer.wrap(bytes);
        }

        /** Does what the channel is ready for; whether the end has come. */
        boolean go(SelectionKey key) throws IOException {
            var channel = (SocketChannel) key.channel();
            if (key.isWritable()) {
                channel.write(sent);
                if (!sent.hasRemaining()) {
                    channel.shutdownOutput();
                    key.interestOps(SelectionKey.OP_READ);
                }
            }
            if (!key.isReadable()) {
                return false;
            }
            ByteBuffer room = ByteBuffer.allocate(64 << 10);
            int count = channel.read(room);
            got.write(room.array(), 0, Math.max(count, 0));
            return count < 0;
        }
    }

    @Test
    void aLoopAroundASelectorServesManyConnections() throws IOException {
        List<Exchange> exchanges = new ArrayList<>();
        try (Selector selector = Selector.open()) {
            for (int i = 0; i < CONNECTIONS; i++) {
                NTMSocketChannel opened = NTMSocketChannel.open(Neighbour.NAME, Peer.ECHO);
                assertEquals(Neighbour.NAME, opened.remoteAddress().getHostName());
                exchanges.add(new Exchange(i));
                opened.channel().configureBlocking(false);
                opened.channel().register(selector, SelectionKey.OP_READ | SelectionKey.OP_WRITE, exchanges.get(i));
            }
            for (int open = CONNECTIONS; open > 0;) {
                selector.select();
                for (SelectionKey key : selector.selectedKeys()) {
                    if (((Exchange) key.attachment()).go(key)) {
                        key.channel().close();
                        open--;
                    }
                }
                selector.selectedKeys().clear();
            }
        }
        for (Exchange exchange : exchanges) {
            assertArrayEquals(exchange.sent.array(), exchange.got.toByteArray());
        }
    }

    @Test
    void aConnectionThatWasAcceptedBecomesAChannelToo() throws IOException {
        try (NTMServerSocket listening = new NTMServerSocket(0);
                Socket socket = new NTMSocket(NTMfw.localName(), listening.getLocalPort());
                SocketChannel accepted = NTMSocketChannel.of((NTMSocket) listening.accept()).channel()) {
            socket.getOutputStream().write(42);
            ByteBuffer room = ByteBuffer.allocate(1);
            assertEquals(1, accepted.read(room));
            assertEquals(1, accepted.write(room.flip()));
            assertEquals(42, socket.getInputStream().read());
        }
    }
}

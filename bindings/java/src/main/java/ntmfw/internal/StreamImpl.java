package ntmfw.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketException;
import java.net.SocketImpl;
import java.net.SocketOption;
import java.net.SocketTimeoutException;
import java.nio.channels.SocketChannel;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/** A stream, or a port that listens, for {@code java.net.Socket} and {@code java.net.ServerSocket}. */
public final class StreamImpl extends SocketImpl implements SocketHolder {
    private final ReentrantLock accepting = new ReentrantLock();
    private final StreamInput input = new StreamInput(this);
    private final StreamOutput output = new StreamOutput(this);
    private volatile OpenSocket socket;

    /** A stream that is nothing yet. */
    public StreamImpl() {}

    @Override
    public OpenSocket held() {
        return socket;
    }

    @Override
    protected void create(boolean stream) throws IOException {
        if (!stream) {
            throw new SocketException("a stream cannot be a datagram socket: use NTMDatagramSocket");
        }
        adopt(OpenSocket.open(Linux.SOCK_STREAM));
    }

    private void adopt(int descriptor) {
        Room reading = input.room();
        Room writing = output.room();
        socket = new OpenSocket(descriptor, Options.OF_STREAMS, this, () -> {
            reading.close();
            writing.close();
        });
    }

    @Override
    protected void connect(String host, int port) throws IOException {
        connect(new InetSocketAddress(InetAddress.getByName(host), port), 0);
    }

    @Override
    protected void connect(InetAddress address, int port) throws IOException {
        connect(new InetSocketAddress(address, port), 0);
    }

    @Override
    protected void connect(SocketAddress endpoint, int timeout) throws IOException {
        try {
            if (!(Names.resolved(endpoint) instanceof InetSocketAddress to)) {
                throw new IllegalArgumentException("no address of the Internet: " + endpoint);
            }
            SocketAddresses.Shown shown = new SocketAddresses.Shown(to.getAddress(), to.getPort());
            OpenSocket open = socket();
            int fd = open.descriptor.enter();
            try {
                int result = Connecting.connect(open.descriptor, fd, to, timeout);
                if (open.descriptor.isClosed()) {
                    throw closed();
                }
                if (result < 0) {
                    throw Failure.connecting(-result, shown);
                }
            } finally {
                open.descriptor.leave();
            }
            address = to.getAddress();
            port = to.getPort();
            localport = open.localPort();
        } catch (IOException failure) {
            close();
            throw failure;
        }
    }

    @Override
    protected void bind(InetAddress host, int port) throws IOException {
        OpenSocket open = socket();
        localport = open.bind(host, port);
        address = host;
    }

    @Override
    protected void listen(int backlog) throws IOException {
        socket().use(fd -> {
            int result = Library.calls().listen(fd, backlog < 1 ? 50 : backlog);
            if (result < 0) {
                throw Failure.binding(-result, new SocketAddresses.Shown(address, localport));
            }
            return null;
        });
    }

    @Override
    protected void accept(SocketImpl other) throws IOException {
        StreamImpl accepted = (StreamImpl) other;
        OpenSocket open = socket();
        accepting.lock();
        try {
            int fd = open.descriptor.enter();
            try (NativeBuffer peer = NativeBuffer.take()) {
                int result = accept(open, fd, peer);
                if (open.descriptor.isClosed()) {
                    if (result >= 0) {
                        Library.calls().close(result);
                    }
                    throw closed();
                }
                if (result == -Linux.EAGAIN) {
                    throw new SocketTimeoutException("Accept timed out");
                }
                if (result < 0) {
                    throw Failure.of(-result);
                }
                accepted.adopt(result);
                accepted.address = OpenSocket.shown(result, SocketAddresses.address(peer.bytes, 0));
                accepted.port = SocketAddresses.port(peer.bytes, 0);
                accepted.localport = localport;
                if (open.timeout() != 0) {
                    Options.setTimeout(result, Linux.SO_RCVTIMEO, 0);
                }
            } finally {
                open.descriptor.leave();
            }
        } finally {
            accepting.unlock();
        }
    }

    private static int accept(OpenSocket open, int fd, NativeBuffer peer) {
        Calls calls = Library.calls();
        peer.bytes.putInt(SocketAddresses.LENGTH, SocketAddresses.LENGTH);
        return (int) Blocking.callWhenReady(open.descriptor, fd, Poller::reading, open.timeout(), flags ->
            calls.accept4(fd, peer.address, peer.address + SocketAddresses.LENGTH, Linux.SOCK_CLOEXEC));
    }

    @Override
    protected InputStream getInputStream() {
        return input;
    }

    @Override
    protected OutputStream getOutputStream() {
        return output;
    }

    @Override
    protected int available() throws IOException {
        return input.available();
    }

    @Override
    protected void shutdownInput() throws IOException {
        shutdown(Linux.SHUT_RD);
        input.end();
    }

    @Override
    protected void shutdownOutput() throws IOException {
        shutdown(Linux.SHUT_WR);
    }

    private void shutdown(int how) throws IOException {
        socket().use(fd -> {
            int result = Library.calls().shutdown(fd, how);
            if (result < 0 && result != -Linux.ENOTCONN) {
                throw Failure.of(-result);
            }
            return null;
        });
    }

    @Override
    protected void close() {
        closeHeld();
    }

    @Override
    protected void sendUrgentData(int data) throws IOException {
        throw new SocketException("urgent data does not travel between nodes");
    }

    /** What a call on a closed socket ends with. */
    static SocketException closed() {
        return new SocketException(Thread.currentThread().isInterrupted() ? "Closed by interrupt" : "Socket closed");
    }

    /** A channel of Java's own with this connection behind it. */
    public SocketChannel toChannel() throws IOException {
        OpenSocket open = socket();
        int fd = open.descriptor.enter();
        try {
            return StockChannel.over(fd);
        } finally {
            open.descriptor.leave();
        }
    }

    @Override
    protected Set<SocketOption<?>> supportedOptions() {
        return Options.names(Options.OF_STREAMS);
    }

    @Override
    protected <T> void setOption(SocketOption<T> name, T value) throws IOException {
        socket().setOption(name, value);
    }

    @Override
    protected <T> T getOption(SocketOption<T> name) throws IOException {
        return socket().getOption(name);
    }
}

package ntmfw.internal;

import java.io.IOException;
import java.lang.ref.WeakReference;
import java.net.DatagramPacket;
import java.net.InetAddress;
import java.net.SocketException;
import java.net.SocketOption;
import java.net.SocketTimeoutException;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/** A datagram socket for {@code java.net.DatagramSocket}. */
public final class DatagramImpl extends UnicastImpl implements SocketHolder {
    /** What has room beside an address; the largest datagrams are shorter. */
    private static final int LARGEST = NativeBuffer.LARGE - SocketAddresses.LENGTH - Integer.BYTES;

    private final ReentrantLock receiving = new ReentrantLock();
    private volatile OpenSocket socket;
    private Received last = new Received(new WeakReference<>(null), 0, 0);

    /** A socket that is nothing yet. */
    public DatagramImpl() {}

    /**
     * The packet that came last. Its length was set to that of what came; when it is given again as it is, it has the
     * room that it had before, as with Java's own sockets.
     */
    private record Received(WeakReference<DatagramPacket> packet, int room, int length) {
        int roomOf(DatagramPacket given) {
            return packet.get() == given && given.getLength() == length ? room : given.getLength();
        }
    }

    @Override
    public OpenSocket held() {
        return socket;
    }

    @Override
    protected void create() throws SocketException {
        socket = new OpenSocket(OpenSocket.open(Linux.SOCK_DGRAM), Options.OF_DATAGRAMS, this, () -> {});
    }

    @Override
    protected void bind(int port, InetAddress address) throws SocketException {
        localPort = socket().bind(address, port);
    }

    @Override
    protected void connect(InetAddress address, int port) throws SocketException {
        connect(room -> SocketAddresses.put(room.bytes, 0, address, port));
    }

    @Override
    protected void disconnect() {
        try {
            connect(room -> room.bytes.put(0, new byte[SocketAddresses.LENGTH]).putShort(0, (short) Linux.AF_UNSPEC));
        } catch (SocketException closed) {
            // It has no peer any more either way.
        }
    }

    /** Writes the address of a peer. */
    private interface To {
        void put(NativeBuffer room);
    }

    private void connect(To to) throws SocketException {
        socket().use(fd -> {
            try (NativeBuffer room = NativeBuffer.take()) {
                to.put(room);
                int result = Library.calls().connect(fd, room.address, SocketAddresses.LENGTH);
                if (result < 0) {
                    throw Failure.datagram(-result);
                }
                return null;
            }
        });
    }

    @Override
    protected void send(DatagramPacket packet) throws IOException {
        Calls calls = Library.calls();
        OpenSocket open = socket();
        int fd = open.descriptor.enter();
        try (NativeBuffer room = NativeBuffer.take(NativeBuffer.LARGE)) {
            int length = packet.getLength();
            if (length > LARGEST) {
                throw new SocketException("a datagram of " + length + " bytes is too long");
            }
            int data = SocketAddresses.LENGTH;
            SocketAddresses.put(room.bytes, 0, packet.getAddress(), packet.getPort());
            room.bytes.put(data, packet.getData(), packet.getOffset(), length);
            long result = Blocking.call(open.descriptor, fd, Poller::writing, 0,
                flags -> calls.sendto(fd, room.address + data, length, flags | Linux.MSG_NOSIGNAL, room.address,
                    SocketAddresses.LENGTH));
            check(open, result);
        } finally {
            open.descriptor.leave();
        }
    }

    @Override
    protected void receive(DatagramPacket packet) throws IOException {
        receiving.lock();
        try {
            int room = last.roomOf(packet);
            int length = receive(packet, room, 0);
            last = new Received(new WeakReference<>(packet), room, length);
        } finally {
            receiving.unlock();
        }
    }

    @Override
    protected int peekData(DatagramPacket packet) throws IOException {
        receive(packet, packet.getLength(), Linux.MSG_PEEK);
        return packet.getPort();
    }

    @Override
    protected int peek(InetAddress address) throws IOException {
        throw new SocketException("an address cannot be changed: use peekData");
    }

    private int receive(DatagramPacket packet, int most, int how) throws IOException {
        Calls calls = Library.calls();
        OpenSocket open = socket();
        int fd = open.descriptor.enter();
        try (NativeBuffer room = NativeBuffer.take(NativeBuffer.LARGE)) {
            int addressLength = SocketAddresses.LENGTH;
            int data = addressLength + Integer.BYTES;
            room.bytes.putInt(addressLength, SocketAddresses.LENGTH);
            long result = Blocking.call(open.descriptor, fd, Poller::reading, open.timeout(),
                flags -> calls.recvfrom(fd, room.address + data, LARGEST, flags | how, room.address,
                    room.address + addressLength));
            int length = Math.min(check(open, result), most);
            room.bytes.get(data, packet.getData(), packet.getOffset(), length);
            packet.setAddress(OpenSocket.shown(fd, SocketAddresses.address(room.bytes, 0)));
            packet.setPort(SocketAddresses.port(room.bytes, 0));
            packet.setLength(length);
            return length;
        } finally {
            open.descriptor.leave();
        }
    }

    private static int check(OpenSocket open, long result) throws IOException {
        if (open.descriptor.isClosed()) {
            throw StreamImpl.closed();
        }
        if (result == -Linux.EAGAIN) {
            throw new SocketTimeoutException("Receive timed out");
        }
        if (result < 0) {
            throw Failure.datagram((int) -result);
        }
        return (int) result;
    }

    @Override
    protected void close() {
        closeHeld();
    }

    @Override
    protected Set<SocketOption<?>> supportedOptions() {
        return Options.names(Options.OF_DATAGRAMS);
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

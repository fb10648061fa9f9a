package ntmfw.internal;

import java.io.IOException;
import java.io.InputStream;
import java.net.SocketTimeoutException;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;

/** What a stream's peer sends. */
final class StreamInput extends InputStream {
    private final StreamImpl stream;
    private final ReentrantLock reading = new ReentrantLock();
    private final Room room = new Room();
    private volatile boolean ended;
    /** C tells of a reset once, Java at every call. */
    private volatile boolean reset;

    StreamInput(StreamImpl stream) {
        this.stream = stream;
    }

    /** For who closes the stream. */
    Room room() {
        return room;
    }

    /** Nothing more is to be read. */
    void end() {
        ended = true;
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : Byte.toUnsignedInt(one[0]);
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, bytes.length);
        if (length == 0) {
            return 0;
        }
        OpenSocket socket = stream.socket();
        reading.lock();
        try {
            int fd = socket.descriptor.enter();
            try {
                NativeBuffer buffer = room.of(length);
                int most = Math.min(length, buffer.size());
                int got = ended ? 0 : checked(socket, receive(socket, fd, buffer.address, most));
                buffer.bytes.get(0, bytes, offset, got);
                return got == 0 ? -1 : got;
            } finally {
                socket.descriptor.leave();
            }
        } finally {
            reading.unlock();
        }
    }

    private static long receive(OpenSocket socket, int fd, long address, int most) {
        Calls calls = Library.calls();
        return Blocking.call(socket.descriptor, fd, Poller::reading, socket.timeout(),
            flags -> calls.recv(fd, address, most, flags));
    }

    private int checked(OpenSocket socket, long result) throws IOException {
        if (socket.descriptor.isClosed()) {
            throw StreamImpl.closed();
        }
        if (reset || result == -Linux.ECONNRESET) {
            reset = true;
            throw Failure.of(Linux.ECONNRESET);
        }
        if (result == -Linux.EAGAIN) {
            throw new SocketTimeoutException("Read timed out");
        }
        if (result < 0) {
            throw Failure.of((int) -result);
        }
        return (int) result;
    }

    @Override
    public int available() throws IOException {
        if (ended) {
            return 0;
        }
        return stream.socket().use(fd -> {
            try (NativeBuffer count = NativeBuffer.take()) {
                int result = Library.calls().ioctl(fd, Linux.FIONREAD, count.address);
                if (result < 0) {
                    throw Failure.of(-result);
                }
                return count.bytes.getInt(0);
            }
        });
    }

    @Override
    public void close() {
        stream.close();
    }
}

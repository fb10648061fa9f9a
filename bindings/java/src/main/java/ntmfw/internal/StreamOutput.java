package ntmfw.internal;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;

/** What goes to a stream's peer. */
final class StreamOutput extends OutputStream {
    private final StreamImpl stream;
    private final ReentrantLock writing = new ReentrantLock();
    private final Room room = new Room();

    StreamOutput(StreamImpl stream) {
        this.stream = stream;
    }

    /** For who closes the stream. */
    Room room() {
        return room;
    }

    @Override
    public void write(int one) throws IOException {
        write(new byte[] {(byte) one}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, bytes.length);
        OpenSocket socket = stream.socket();
        writing.lock();
        try {
            int fd = socket.descriptor.enter();
            try {
                NativeBuffer buffer = room.of(length);
                for (int done = 0; done < length;) {
                    int part = Math.min(length - done, buffer.size());
                    buffer.bytes.put(0, bytes, offset + done, part);
                    send(socket, fd, buffer.address, part);
                    done += part;
                }
            } finally {
                socket.descriptor.leave();
            }
        } finally {
            writing.unlock();
        }
    }

    private static void send(OpenSocket socket, int fd, long address, int length) throws IOException {
        Calls calls = Library.calls();
        for (long sent = 0; sent < length;) {
            long from = address + sent;
            long left = length - sent;
            long result = Blocking.call(socket.descriptor, fd, Poller::writing, 0,
                flags -> calls.send(fd, from, left, flags | Linux.MSG_NOSIGNAL));
            if (socket.descriptor.isClosed()) {
                throw StreamImpl.closed();
            }
            if (result < 0) {
                throw Failure.of((int) -result);
            }
            sent += result;
        }
    }

    @Override
    public void close() {
        stream.close();
    }
}

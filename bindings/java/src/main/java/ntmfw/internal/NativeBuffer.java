package ntmfw.internal;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ArrayBlockingQueue;

/** Native memory with a known address, used again and again: {@code take}, and {@code close} to give it back. */
public final class NativeBuffer implements AutoCloseable {
    /** Room for what most streams ask for at a time, and for all arguments of calls. */
    public static final int SMALL = 8 << 10;
    /** The most that one call moves: a datagram of the largest size fits. */
    public static final int LARGE = 64 << 10;

    /** Kept for the next who need one; the garbage collector has what does not fit. */
    private static final ArrayBlockingQueue<NativeBuffer> SMALL_ONES = new ArrayBlockingQueue<>(256);
    private static final ArrayBlockingQueue<NativeBuffer> LARGE_ONES = new ArrayBlockingQueue<>(64);

    /** The memory itself. Positions and limits are not used, so that no call depends on what the last one left. */
    public final ByteBuffer bytes;
    /** Where it is. */
    public final long address;

    private NativeBuffer(int size) {
        bytes = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder());
        address = Library.calls().address(bytes);
    }

    /** A small one. */
    public static NativeBuffer take() {
        return take(SMALL);
    }

    /** One with room for {@code size} bytes, or a large one where that is more than any has. */
    public static NativeBuffer take(int size) {
        boolean small = size <= SMALL;
        NativeBuffer kept = (small ? SMALL_ONES : LARGE_ONES).poll();
        return kept != null ? kept : new NativeBuffer(small ? SMALL : LARGE);
    }

    /** How many bytes it has. */
    public int size() {
        return bytes.capacity();
    }

    /** Writes a C string and gives the place behind it. */
    public int putText(int at, String text) {
        byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
        if (at + encoded.length >= size()) {
            throw new IllegalArgumentException("longer than any name or path can be: " + text.substring(0, 64) + "…");
        }
        bytes.put(at, encoded).put(at + encoded.length, (byte) 0);
        return at + encoded.length + 1;
    }

    /** Reads a C string. */
    public String text(int at) {
        int end = at;
        while (bytes.get(end) != 0) {
            end++;
        }
        byte[] encoded = new byte[end - at];
        bytes.get(at, encoded);
        return new String(encoded, StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
        (size() == SMALL ? SMALL_ONES : LARGE_ONES).offer(this);
    }
}

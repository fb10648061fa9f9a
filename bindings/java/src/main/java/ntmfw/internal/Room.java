package ntmfw.internal;

/** The native memory of one direction of a stream, which grows to what the program asks for at a time. */
final class Room implements AutoCloseable {
    private NativeBuffer held;

    /** Room for {@code length} bytes, or for as many as one call moves. */
    NativeBuffer of(int length) {
        if (held == null || held.size() < Math.min(length, NativeBuffer.LARGE)) {
            close();
            held = NativeBuffer.take(length);
        }
        return held;
    }

    @Override
    public void close() {
        if (held != null) {
            held.close();
            held = null;
        }
    }
}

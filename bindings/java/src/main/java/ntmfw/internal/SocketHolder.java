package ntmfw.internal;

import java.net.SocketException;
import java.net.SocketOptions;

/** What sockets of both kinds do with the one of the library that they are made of. */
interface SocketHolder extends SocketOptions {
    /** Null where it was not made yet. */
    OpenSocket held();

    /** The socket, which is made before anything else is done with it. */
    default OpenSocket socket() throws SocketException {
        OpenSocket open = held();
        if (open == null) {
            throw new SocketException("Socket is not created");
        }
        return open;
    }

    /** Closes it, if it was made. */
    default void closeHeld() {
        OpenSocket open = held();
        if (open != null) {
            open.descriptor.close();
        }
    }

    /** How its packets travel, where it is connected. */
    default Paths.Path path() throws SocketException {
        return socket().use(Paths::of);
    }

    @Override
    default void setOption(int number, Object value) throws SocketException {
        socket().setOption(number, value);
    }

    @Override
    default Object getOption(int number) throws SocketException {
        return socket().getOption(number);
    }
}

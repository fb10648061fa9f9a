/** Sockets of {@code java.net} that reach a node by its name, wherever it is. */
module ntmfw {
    requires com.sun.jna;
    requires jdk.net;

    exports ntmfw;

    opens ntmfw.internal to com.sun.jna;
}

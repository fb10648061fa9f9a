package ntmfw.internal;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Finds the native library, once: with JNI ({@code libntmfw_java.so}) where that is there, else with JNA
 * ({@code libntmfw.so}).
 *
 * <p>{@code ntmfw.library.path} is a directory that has them; without it they are taken from the jar, then from where
 * the system looks. {@code ntmfw.calls} ({@code jni} or {@code jna}) takes the choice away.
 */
public final class Library {
    private static final String DIRECTORY = System.getProperty("ntmfw.library.path");
    private static final String CHOICE = System.getProperty("ntmfw.calls", "");

    private Library() {}

    /** The calls, or why there are none: one of the two is null. */
    private record Loaded(Calls calls, String failure) {}

    private static final class Holder {
        private static final Loaded LOADED = load();
    }

    /**
     * The library's calls.
     *
     * @throws UnsatisfiedLinkError where the library cannot be loaded, each time, with what to do about it
     */
    public static Calls calls() {
        Loaded loaded = Holder.LOADED;
        if (loaded.calls == null) {
            throw new UnsatisfiedLinkError(loaded.failure);
        }
        return loaded.calls;
    }

    private static Loaded load() {
        StringBuilder failures = new StringBuilder();
        if (!CHOICE.equals("jna")) {
            try {
                loadJni();
                return new Loaded(new JniCalls(), null);
            } catch (UnsatisfiedLinkError | IOException missing) {
                failures.append("\n  libntmfw_java.so (JNI): ").append(firstLine(missing));
            }
        }
        if (!CHOICE.equals("jni")) {
            try {
                return new Loaded(new JnaCalls(jnaLibrary()), null);
            } catch (UnsatisfiedLinkError missing) {
                failures.append("\n  libntmfw.so (JNA): ").append(firstLine(missing));
            }
        }
        return new Loaded(null, "the native library of NTMfw cannot be loaded on " + System.getProperty("os.name") + " "
            + System.getProperty("os.arch") + ". Use the jar that has it inside (classifier \"all\"), or give the "
            + "directory that has it with -Dntmfw.library.path=DIRECTORY. What was tried:" + failures);
    }

    private static void loadJni() throws IOException {
        if (DIRECTORY != null) {
            System.load(inDirectory("libntmfw_java.so"));
            return;
        }
        File extracted;
        try {
            extracted = Native.extractFromResourcePath("ntmfw_java");
        } catch (IOException notInTheJar) {
            System.loadLibrary("ntmfw_java");
            return;
        }
        System.load(extracted.getAbsolutePath());
    }

    private static NativeLibrary jnaLibrary() {
        return NativeLibrary.getInstance(DIRECTORY == null ? "ntmfw" : inDirectory("libntmfw.so"));
    }

    /** The loader's own message for a library of another machine is that there is no such file. */
    private static String inDirectory(String name) {
        Path file = Path.of(DIRECTORY, name).toAbsolutePath();
        if (!Files.isReadable(file)) {
            throw new UnsatisfiedLinkError("there is no " + file);
        }
        ElfMachine.of(file).filter(machine -> !machine.isThisOne()).ifPresent(machine -> {
            throw new UnsatisfiedLinkError(file + " is for " + machine.name());
        });
        return file.toString();
    }

    private static String firstLine(Throwable failure) {
        return String.valueOf(failure.getMessage()).lines().findFirst().orElse("");
    }
}

package ntmfw.internal;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** The kind of machine that a shared library is for, as its ELF header says. */
record ElfMachine(int number) {
    private static final int HEADER = 20;
    private static final int MACHINE = 18;
    private static final Map<Integer, String> NAMES =
        Map.of(3, "i386", 40, "arm", 62, "amd64", 183, "aarch64", 243, "riscv64");

    /** Empty where the file is no ELF file: the loader says that best. */
    static Optional<ElfMachine> of(Path library) {
        try (InputStream file = Files.newInputStream(library)) {
            byte[] header = file.readNBytes(HEADER);
            boolean isElf = header.length == HEADER && header[0] == 0x7f && header[1] == 'E';
            return isElf ? Optional.of(new ElfMachine(header[MACHINE] & 0xff | (header[MACHINE + 1] & 0xff) << 8))
                : Optional.empty();
        } catch (IOException unreadable) {
            return Optional.empty();
        }
    }

    boolean isThisOne() {
        return name().equals(System.getProperty("os.arch"));
    }

    String name() {
        return NAMES.getOrDefault(number, "another machine (ELF number " + number + ")");
    }
}

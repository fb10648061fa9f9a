/** Says which version of the library is there: the smallest program that loads it. */
class Version {
    public static void main(String[] arguments) {
        System.out.println(ntmfw.NTMfw.version());
    }
}

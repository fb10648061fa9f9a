# frozen_string_literal: true

require_relative "helper"

class DocumentationTest < NTMTest
  GEM = File.expand_path("..", __dir__)

  def test_the_signatures_are_valid
    said, status = tool(RbConfig.ruby, Gem.bin_path("rbs", "rbs"), "-r", "socket", "-r", "pathname", "-I", "sig",
                        "-I", "test/signatures", "validate", "--silent")
    assert_predicate status, :success?, said
  end

  # Their methods are there, with room for as many arguments.
  def test_the_signatures_are_those_of_the_classes
    signatures = File.read(File.join(GEM, "sig/ntmfw.rbs"))
    { "NTMTCPSocket" => NTMTCPSocket, "NTMTCPServer" => NTMTCPServer, "NTMUDPSocket" => NTMUDPSocket }.each do |name, type|
      declared = signatures[/^class #{name} .*?^end/m].scan(/^  def (\w+[?=]?):/).flatten.map(&:to_sym) - [:initialize]
      assert_empty declared - type.instance_methods(false), name
      inherited = %i[close write syswrite write_nonblock readpartial sysread read_nonblock]
      assert_empty type.instance_methods(false) - declared - inherited, "#{name} has no signatures of these"
    end
  end

  def test_everything_public_is_documented_and_yard_has_no_complaint
    Dir.mktmpdir do |work|
      said, status = tool("yardoc", "--no-cache", "--db", "#{work}/db", "--output-dir", "#{work}/doc")
      assert_predicate status, :success?, said
      assert_match(/100.00% documented/, said)
    end
  end

  private

  def tool(*command)
    said = IO.popen(command, chdir: GEM, err: %i[child out], &:read)
    [said, Process.last_status]
  end
end

# frozen_string_literal: true

require_relative "helper"

# Every program in the guide does what the guide says.
class GuideTest < NTMTest
  GUIDE = File.read(File.expand_path("../../../docs/ruby.md", __dir__))
  PROGRAMS = GUIDE.scan(/^```ruby\n(.*?)^```\n```text\n(.*?)^```$/m)

  def test_each_program_is_followed_by_what_it_prints
    assert_equal GUIDE.scan(/^```ruby$/).size, PROGRAMS.size
  end

  PROGRAMS.each_with_index do |(program, printed), index|
    define_method("test_program_#{index + 1}_prints_what_the_guide_says") do
      said, status = Processes.run(program.gsub("desk.ntm.example", PEER))
      assert_predicate status, :success?, said
      assert_equal printed.gsub("desk.ntm.example", PEER), said
    end
  end
end

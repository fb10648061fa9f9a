# frozen_string_literal: true

# The smallest scheduler of fibers that is of use: one loop over IO.select.
class Scheduler
  def initialize
    @reading = {}
    @writing = {}
    @sleeping = {}
    @blocked = {}
    @unblocked = []
    @guard = Mutex.new
    @wake_reader, @wake_writer = IO.pipe
  end

  def run
    until [@reading, @writing, @sleeping, @blocked, @unblocked].all?(&:empty?)
      readable, writable = IO.select([@wake_reader, *@reading.keys], @writing.keys, nil, patience)
      @wake_reader.read_nonblock(4096, exception: false) if readable&.include?(@wake_reader)
      wake(@reading, readable, IO::READABLE)
      wake(@writing, writable, IO::WRITABLE)
      now = clock
      @sleeping.select { |_, due| due <= now }.each_key { |fiber| resume(fiber) if @sleeping.delete(fiber) }
      @guard.synchronize { @unblocked.slice!(0..) }.each { |fiber| resume(fiber) if @blocked.delete(fiber) }
    end
  end
  alias close run

  def io_wait(io, events, timeout)
    fiber = Fiber.current
    @reading[io] = fiber if events.anybits?(IO::READABLE)
    @writing[io] = fiber if events.anybits?(IO::WRITABLE)
    @sleeping[fiber] = clock + timeout if timeout
    Fiber.yield || false
  ensure
    @reading.delete(io)
    @writing.delete(io)
    @sleeping.delete(fiber)
  end

  def kernel_sleep(duration = nil)
    duration ? block(nil, duration) : Fiber.yield
    true
  end

  def block(_blocker, timeout = nil)
    fiber = Fiber.current
    @blocked[fiber] = true
    @sleeping[fiber] = clock + timeout if timeout
    Fiber.yield
  ensure
    @blocked.delete(fiber)
    @sleeping.delete(fiber)
  end

  def unblock(_blocker, fiber)
    @guard.synchronize { @unblocked << fiber }
    @wake_writer.write_nonblock("x", exception: false)
  end

  def fiber(&block)
    Fiber.new(blocking: false, &block).tap(&:resume)
  end

  private

  def patience
    return 0 unless @unblocked.empty?

    soonest = @sleeping.values.min
    soonest && [soonest - clock, 0].max
  end

  def wake(waiting, ready, event)
    ready&.each { |io| waiting.delete(io)&.then { |fiber| resume(fiber, event) } }
  end

  def resume(fiber, value = nil) = fiber.alive? && fiber.resume(value)

  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

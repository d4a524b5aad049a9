# Reads hexadecimal multipart bodies with the boundary B, one a line, and prints 1 for each in which Rack finds the pair of
# ARGV.
require "rack"
require "stringio"
key, value = ARGV
is = ->(found) { found.is_a?(Array) ? found.any?(&is) : found.is_a?(Hash) ? found.values.any?(&is) : found.to_s.strip.casecmp?(value) }
STDIN.each_line do |line|
  body = [line.strip].pack("H*")
  env = { "CONTENT_TYPE" => "multipart/form-data; boundary=B", "CONTENT_LENGTH" => body.bytesize.to_s, "rack.input" => StringIO.new(body) }
  found = begin
    is.call(Rack::Multipart.parse_multipart(env)[key])
  rescue StandardError
    false
  end
  puts found ? 1 : 0
end

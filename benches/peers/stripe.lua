-- Checks Stripe's signature with OpenSSL's HMAC. The key is prepared once, and the body is hashed without a copy.
local ffi = require "ffi"

ffi.cdef [[
typedef struct hmac_ctx_st HMAC_CTX;
typedef struct evp_md_st EVP_MD;
HMAC_CTX *HMAC_CTX_new(void);
const EVP_MD *EVP_sha256(void);
int HMAC_Init_ex(HMAC_CTX *, const void *key, int length, const EVP_MD *, void *engine);
int HMAC_Update(HMAC_CTX *, const char *, size_t);
int HMAC_Final(HMAC_CTX *, unsigned char *, unsigned int *);
int CRYPTO_memcmp(const void *, const void *, size_t);
]]

local TOLERANCE = 300
local crypto = ffi.C
local context
local mac, claimed = ffi.new("unsigned char[32]"), ffi.new("unsigned char[32]")

local value_of = {}
for byte = 0, 255 do value_of[string.format("%02x", byte)] = byte end

local stripe = {}

function stripe.prepare(secret)
  context = crypto.HMAC_CTX_new()
  assert(crypto.HMAC_Init_ex(context, secret, #secret, crypto.EVP_sha256(), nil) == 1)
end

local function matches(hex)
  if #hex ~= 64 then return false end
  for i = 0, 31 do
    local byte = value_of[hex:sub(2 * i + 1, 2 * i + 2)]
    if not byte then return false end
    claimed[i] = byte
  end
  return crypto.CRYPTO_memcmp(claimed, mac, 32) == 0
end

local function update(text) crypto.HMAC_Update(context, text, #text) end

function stripe.check()
  local header = ngx.var.http_stripe_signature
  local timestamp, candidates = nil, {}
  for name, value in string.gmatch(header or "", "(%w+)=([^,]+)") do
    if name == "t" then timestamp = value end
    if name == "v1" then candidates[#candidates + 1] = value end
  end
  if not tonumber(timestamp) or ngx.time() - tonumber(timestamp) > TOLERANCE then return ngx.exit(400) end
  ngx.req.read_body()
  crypto.HMAC_Init_ex(context, nil, 0, nil, nil)
  update(timestamp)
  update(".")
  update(ngx.req.get_body_data() or "")
  crypto.HMAC_Final(context, mac, nil)
  for _, candidate in ipairs(candidates) do
    if matches(candidate) then return end
  end
  return ngx.exit(400)
end

return stripe

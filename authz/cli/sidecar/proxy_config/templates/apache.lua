local socket = require "socket.core"
{{ if unix }}
local unix = require "socket.unix"
{{ end }}
local TIMEOUT = 0.25   -- seconds
local NOTED = {"decision", "reason", "list", "entry", "client-address", "application"}
local TOLD = {"Client-Address", "List", "Application", "Warnings", "Dry-Run"}
local kept             -- this thread's connection to the sidecar

local function connect()
{{ if unix }}
    local connection = unix.stream()
    connection:settimeout(TIMEOUT)
    if connection:connect({{ path }}) then return connection end
{{ end }}
{{ if not unix }}
    local connection = socket.tcp()
    connection:settimeout(TIMEOUT)
    if connection:connect({{ host }}, {{ port }}) then return connection end
{{ end }}
    connection:close()   -- else it would stay open until Lua looks for what nobody needs
end

-- Sends a request, and returns status, headers and body; nil: no whole answer in time.
local function exchange(connection, request, deadline)
    local function receive(what)
        connection:settimeout(math.max(deadline - socket.gettime(), 0), "t")
        return connection:receive(what)
    end
    connection:settimeout(math.max(deadline - socket.gettime(), 0), "t")
    if not connection:send(request) then return nil end
    local status = tonumber((receive("*l") or ""):match("^HTTP/1%.1 (%d%d%d) "))
    if not status then return nil end
    local headers = {}
    while true do
        local line = receive("*l")
        if not line then return nil end
        if line == "" then break end
        local name, value = line:match("^([^:]+):%s*(.*)$")
        if name then headers[name:lower()] = value end
    end
    local size = tonumber(headers["content-length"])
    local body = size == 0 and "" or size and receive(size)
    if not body then return nil end
    return status, headers, body
end

-- A connection on which anything went wrong, or more came than the answer, is never used again: what is or will be on it
-- answers another request.
local function ask(request)
    local deadline = socket.gettime() + TIMEOUT
    local connection, status, headers, body = kept, nil, nil, nil
    kept = nil
    if connection then status, headers, body = exchange(connection, request, deadline) end
    if not status then   -- the first request of this thread, or the sidecar ended the connection meanwhile
        if connection then connection:close() end
        connection = connect()
        if not connection then return nil end
        status, headers, body = exchange(connection, request, deadline)
    end
    local clean = status and headers["connection"] ~= "close" and not connection:dirty()
    if clean then kept = connection else connection:close() end
    return status, headers, body
end

-- An answer of our own ends the request; nothing behind it is run.
local function answer(r, status, content_type, reason, body)
    r.status = status
    if content_type then r.content_type = content_type end
    if reason then r.headers_out["X-Authz-Reason"] = reason end
    if body then r:write(body) end
    return apache2.DONE
end

local function shown(text)   -- in the log, which is JSON
    return (text:sub(1, 1024):gsub('[^!-~]', "?"):gsub('["\\]', "?"))
end

local function question(r, host)
    local application = r.subprocess_env["AUTHZ_APPLICATION"]
    local path = "/v1/forward"
{{ if not by_header }}
    if application then path = path .. "/" .. application end
{{ end }}
    local headers = {
        ["Host"] = host,
        ["X-Forwarded-Host"] = host,
        ["X-Forwarded-Method"] = r.method,
        ["X-Forwarded-Uri"] = r.unparsed_uri,
        ["X-Request-Id"] = r.subprocess_env["UNIQUE_ID"],
{{ if by_header }}
        [{{ application_header }}] = application,
{{ end }}
{{ if attack }}
        [{{ attack_header }}] = r.headers_in[{{ attack_header }}],
{{ end }}
    }
    local peer = r.useragent_ip
{{ if by_chain }}
    local chain = r.headers_in["X-Forwarded-For"]
    headers["X-Forwarded-For"] = chain and chain .. ", " .. peer or peer   -- who connects is the last
{{ end }}
{{ if forwarded }}
    headers["Forwarded"] = peer:find(":") and 'for="[' .. peer .. ']"' or "for=" .. peer
{{ end }}
{{ if single }}
    headers[{{ client_header }}] = peer
{{ end }}
    local lines = {"GET " .. path .. "?details HTTP/1.1"}
    for name, value in pairs(headers) do
        if value:find("[\r\n]") then return nil end   -- Apache has none
        lines[#lines + 1] = name .. ": " .. value
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

function authz(r)
    local host = r.headers_in["Host"] or ""
    r.notes["authz_host"], r.notes["authz_path"] = shown(host), shown(r.unparsed_uri)
    if r.unparsed_uri:sub(1, 1) ~= "/" or r:regex(r.unparsed_uri, [=[(?i){{ ambiguous_path }}]=]) then   -- or CONNECT
        return answer(r, 400, "text/plain", nil, "ambiguous path\n")
    end
    if not r:regex(host, [=[{{ valid_host }}]=]) then
        return answer(r, 400, "text/plain", nil, "ambiguous host\n")
    end
    -- What `Connection` names, Apache does not pass on: a client must not have it drop headers of ours.
    if (r.headers_in["Connection"] or ""):lower():find("x-authz-", 1, true) then
        return answer(r, 400, "text/plain", nil, "ambiguous connection\n")
    end
    if r.uri == "/healthz" then return answer(r, 200, "text/plain", nil, "ok\n") end   -- not checked

    -- Headers that a client made up to look like ours do not reach the application.
    for name in pairs(r:headers_in_table()) do
        if name:lower():find("^x[-_]authz[-_]") then r.headers_in[name] = nil end
    end
    -- Nor do those by which a client could have it read another host or path than the one that is decided.
    for name in pairs(r:headers_in_table()) do
        local known = name:lower():gsub("_", "-")
        if known == "x-forwarded-host" or known == "x-original-url" or known == "x-rewrite-url" then
            r.headers_in[name] = nil
        end
    end
    -- WebSocket passes. Behind an upgrade to HTTP/2 (h2c) the application would be asked what nobody has decided.
    if (r.headers_in["Upgrade"] or ""):lower() ~= "websocket" then r.headers_in["Upgrade"] = nil end
    r.headers_in["X-Request-Id"] = r.subprocess_env["UNIQUE_ID"]

    local request = question(r, host)
    if not request then return answer(r, 400) end
    local status, headers, body = ask(request)
    if not status then
        r:err("authz: no answer of the sidecar")
        return answer(r, 503)
    end
    for _, name in ipairs(NOTED) do r.notes["authz_" .. name] = headers["x-authz-" .. name] end
    local reason = headers["x-authz-reason"]
    -- Another server on the sidecar's port may answer 200, but not so.
    if status ~= 200 or headers["x-authz-decision"] ~= "allow" then
        if status < 400 or status > 499 then return answer(r, 503, nil, reason) end
        return answer(r, status, headers["content-type"], reason, body)
    end
    for _, name in ipairs(TOLD) do r.headers_in["X-Authz-" .. name] = headers["x-authz-" .. name:lower()] end
    return apache2.OK
end

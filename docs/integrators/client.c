/* A gateway in one page of C with libcurl: delivers readings.csv to the platform.
 *   METERING_API_URL   the platform's base URL        METERING_TOKEN          the issued token.json
 *   METERING_READINGS  device,timestamp,sensor,value  METERING_GATEWAY_STATE  a folder that survives a restart
 * cc -O2 -Wall -Wextra client.c -lcurl -o client */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 100, DAY = 86400, NAME = 256, TOKEN = 4096 };
typedef struct { char device[NAME], values[2048]; long long at; } Measure;
typedef struct { char *bytes; size_t length; } Text;

static Measure *measures;
static size_t measure_count;
static char access_token[TOKEN], unknown[64][NAME]; /* unknown: a program that runs on tries them hourly */
static int unknown_count, failures;
static long retry_after; /* seconds of the last answer's Retry-After, 0 without */

static void fail(const char *why) { fprintf(stderr, "client: %s\n", why); exit(1); }
static void add(Text *text, const char *bytes, size_t length) {
    if (!(text->bytes = realloc(text->bytes, text->length + length + 1))) fail("no memory");
    memcpy(text->bytes + text->length, bytes, length);
    text->bytes[text->length += length] = 0;
}
static void say(Text *text, const char *words) { add(text, words, strlen(words)); }
static void say_json(Text *text, const char *words) { /* a JSON string */
    say(text, "\"");
    for (; *words; words++) {
        if (*words == '"' || *words == '\\') say(text, "\\");
        add(text, words, 1);
    }
    say(text, "\"");
}
static const char *state(const char *name) {
    static char path[4][1024];
    static int next;
    char *made = path[next = (next + 1) % 4];
    snprintf(made, 1024, "%s/%s", getenv("METERING_GATEWAY_STATE"), name);
    return made;
}
static char *read_file(const char *path) { /* NULL if there is none */
    FILE *file = fopen(path, "rb");
    Text text = {0};
    char block[4096];
    if (!file) return NULL;
    add(&text, "", 0);
    for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;) add(&text, block, got);
    fclose(file);
    return text.bytes;
}
static void write_durably(const char *name, const char *content) { /* whole or not at all, on the disk at return */
    FILE *file = fopen(state("draft"), "wb");
    if (!file || fputs(content, file) < 0 || fflush(file) || fsync(fileno(file)) || fclose(file)) fail("cannot write");
    if (rename(state("draft"), state(name))) fail("cannot rename");
}
static void set_aside(const char *name, const Measure *measure, const char *answer) {
    FILE *file = fopen(state(name), "ab");
    if (!file) fail("cannot write");
    fprintf(file, "%s %lld [%s] %s\n", measure->device, measure->at, measure->values, answer);
    if (fflush(file) || fsync(fileno(file)) || fclose(file)) fail("cannot write");
}
static int found(const char *json, const char *name, char *value, size_t size) { /* a text member of an answer */
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\"", name);
    const char *at = json ? strstr(json, wanted) : NULL;
    if (!at || !(at = strchr(at + strlen(wanted), '"'))) return 0;
    size_t length = strcspn(++at, "\"");
    if (length >= size) return 0;
    memcpy(value, at, length);
    value[length] = 0;
    return 1;
}
static size_t receive(char *bytes, size_t one, size_t count, void *text) { add(text, bytes, one * count); return one * count; }
static size_t header(char *line, size_t one, size_t count, void *unused) {
    (void)unused;
    if (!strncasecmp(line, "retry-after:", 12)) retry_after = atol(line + 12);
    return one * count;
}
static long post(const char *path, const char *body, const char *token, Text *answer) { /* the status; 0: no answer */
    char url[1024], authorization[TOKEN + 64];
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token ? token : "");
    if (token) headers = curl_slist_append(headers, authorization);
    snprintf(url, sizeof url, "%s/api/v1%s", getenv("METERING_API_URL"), path);
    long status = retry_after = 0;
    answer->length = 0;
    add(answer, "", 0);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header);
    if (curl_easy_perform(curl) == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}
static void pause_a_while(void) { /* what the platform asks for, else doubling; always with chance */
    double chance = rand() / (RAND_MAX + 1.0), own = failures < 8 ? (1 << failures) : 300;
    failures++;
    usleep((useconds_t)(1e6 * (retry_after ? retry_after + chance : own * (0.5 + chance / 2))));
}
static void refresh(void) { /* the same refresh token until an answer comes; the new pair on the disk before it is used */
    char held[TOKEN], code[64], body[TOKEN + 64];
    Text answer = {0};
    for (;;) {
        char *file = read_file(state("token.json"));
        if (!file) file = read_file(getenv("METERING_TOKEN"));
        if (!found(file, "refreshToken", held, sizeof held)) fail("no token: have one issued");
        free(file);
        snprintf(body, sizeof body, "{\"refreshToken\": \"%s\"}", held);
        long status = post("/auth/token/refresh", body, NULL, &answer);
        if (status == 200 && found(answer.bytes, "accessToken", access_token, sizeof access_token)) break;
        if (status == 401 && found(answer.bytes, "code", code, sizeof code)) fail("the token is no longer good: have a new one issued");
        pause_a_while();
    }
    write_durably("token.json", answer.bytes);
    free(answer.bytes);
}
static int is_unknown(const char *device) {
    for (int i = 0; i < unknown_count; i++) if (!strcmp(unknown[i], device)) return 1;
    return 0;
}
static size_t take_out_unknown(Measure **part, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_unknown(part[i]->device)) set_aside("unknown.txt", part[i], "");
        else part[kept++] = part[i];
    }
    return kept;
}
static Text body_of(Measure **part, size_t count, const char **devices) { /* one element for each device, in their order */
    Text body = {0};
    size_t device_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t known = 0;
        while (known < device_count && strcmp(devices[known], part[i]->device)) known++;
        if (known == device_count) devices[device_count++] = part[i]->device;
    }
    for (size_t d = 0; d < device_count; d++) {
        const char *comma = "";
        say(&body, d ? ",{\"deviceNumber\":" : "[{\"deviceNumber\":");
        say_json(&body, devices[d]);
        say(&body, ",\"measures\":[");
        for (size_t i = 0; i < count; i++) {
            char at[64];
            if (strcmp(part[i]->device, devices[d])) continue;
            snprintf(at, sizeof at, "%s{\"timestamp\":%lld,\"sensorValues\":[", comma, part[i]->at);
            say(&body, at), say(&body, part[i]->values), say(&body, "]}");
            comma = ",";
        }
        say(&body, "]}");
    }
    say(&body, "]");
    return body;
}
static void deliver(Measure **part, size_t count) { /* until the platform has them, or they are set aside */
    Text answer = {0};
    while (count) {
        const char *devices[MOST];
        char code[64] = "";
        Text body = body_of(part, count, devices);
        if (!*access_token) refresh();
        long status = post("/measurements", body.bytes, access_token, &answer);
        free(body.bytes);
        found(answer.bytes, "code", code, sizeof code);
        int at_fault = status == 400 || status == 413 || status == 422;
        if (status == 201) { failures = 0; break; }
        if (status == 401) { *access_token = 0; continue; }
        if (!strcmp(code, "devices_unknown")) {
            for (char *at = answer.bytes; (at = strstr(at, "\"pointer\"")) && (at = strchr(at, '/')) && unknown_count < 64;)
                snprintf(unknown[unknown_count++], NAME, "%s", devices[atol(at + 1)]);
            count = take_out_unknown(part, count);
        } else if (at_fault && count > 1) {
            deliver(part, count / 2);
            part += count / 2, count -= count / 2;
        } else if (at_fault) {
            set_aside("refused.txt", part[0], answer.bytes);
            break;
        } else pause_a_while();
    }
    free(answer.bytes);
}
static void read_measures(void) { /* lines of one device and time that follow each other are one measure */
    char *text = read_file(getenv("METERING_READINGS")), *line = text ? strtok(text, "\n") : NULL;
    while (line && (line = strtok(NULL, "\n"))) {
        char device[NAME], sensor[NAME], value[64];
        long long at;
        Text entry = {0};
        if (sscanf(line, "%255[^,],%lld,%255[^,],%63s", device, &at, sensor, value) != 4) fail(line);
        Measure *last = measure_count ? &measures[measure_count - 1] : NULL;
        if (!last || strcmp(last->device, device) || last->at != at) {
            if (!(measures = realloc(measures, (measure_count + 1) * sizeof *measures))) fail("no memory");
            last = &measures[measure_count++];
            strcpy(last->device, device), last->at = at, *last->values = 0;
        }
        say(&entry, *last->values ? ",{\"sensorName\":" : "{\"sensorName\":"), say_json(&entry, sensor);
        say(&entry, ",\"sensorValue\":"), say(&entry, value), say(&entry, "}");
        if (strlen(last->values) + entry.length >= sizeof last->values) fail("too many values in one measure");
        strcat(last->values, entry.bytes), free(entry.bytes);
    }
    free(text);
}
int main(void) {
    char *held = read_file(state("done")), number[32];
    size_t done = held ? strtoul(held, NULL, 10) : 0;
    srand((unsigned)time(NULL) ^ (unsigned)getpid());
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (read_measures(); done < measure_count;) { /* at most 100 measures within a day */
        Measure *part[MOST];
        size_t count = 0;
        long long low = measures[done].at, high = low;
        for (; done + count < measure_count && count < MOST; count++) {
            Measure *next = &measures[done + count];
            low = next->at < low ? next->at : low, high = next->at > high ? next->at : high;
            if (high - low > DAY) break;
            part[count] = next;
        }
        deliver(part, take_out_unknown(part, count));
        snprintf(number, sizeof number, "%zu", done += count);
        write_durably("done", number);
    }
    return 0;
}

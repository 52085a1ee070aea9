// Starts the dashboard: styles, language, server state, router. What it makes of styles carries the number of this page.
import "@mantine/core/styles.css";
import "./kit/page.css";
import { createTheme, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client";
import { makeRouter } from "./router";
import { TextProvider } from "./text/text";

const nonce = document.querySelector<HTMLMetaElement>('meta[name="nonce"]')?.content ?? "";
// Dialogs keep the page behind them from scrolling, by a style of their own.
setNonce(nonce);

const theme = createTheme({
  primaryColor: "blue",
  primaryShade: { light: 8, dark: 8 },
  defaultRadius: "md",
  cursorType: "pointer",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
});

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // Asked again by a person, or when the connection is back: what is refused stays refused.
      retry: (count, error) => count < 2 && !(error instanceof ApiError),
      staleTime: 5_000,
    },
  },
});

const place = document.getElementById("app");
if (place) {
  createRoot(place).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
        <QueryClientProvider client={queries}>
          <TextProvider>
            <RouterProvider router={makeRouter(queries)} />
          </TextProvider>
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
}

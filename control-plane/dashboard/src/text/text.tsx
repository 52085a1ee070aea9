// The language of a person: what the browser wants, or what was chosen here. Only the chosen one is loaded.
import { createContext, use, useEffect, useMemo, useState, type ReactNode } from "react";
import { IntlProvider } from "use-intl";
import { en, type Messages } from "./en";

export const LANGUAGES = ["en", "fr"] as const;
export type Language = (typeof LANGUAGES)[number];

declare module "use-intl" {
  interface AppConfig {
    Locale: string;
    Messages: Messages;
  }
}

/** The person's own variety of a language: dates and numbers differ where words do not. */
export function variety(language: Language, wanted: readonly string[]): string {
  return wanted.find((one) => one.toLowerCase().startsWith(language)) ?? language;
}

const KEPT = "saveos-language";

/** The first language that we have, of those that a browser asks for. */
export function bestLanguage(wanted: readonly string[]): Language {
  const known = wanted.map((language) => language.slice(0, 2).toLowerCase());
  return LANGUAGES.find((language) => language === known.find((one) => LANGUAGES.some((own) => own === one))) ?? "en";
}

function kept(): Language {
  const chosen = localStorage.getItem(KEPT);
  return LANGUAGES.find((language) => language === chosen) ?? bestLanguage(navigator.languages);
}

interface Chosen {
  language: Language;
  choose: (language: Language) => void;
}

const LanguageContext = createContext<Chosen>({ language: "en", choose: () => undefined });

export function useLanguage(): Chosen {
  return use(LanguageContext);
}

export function TextProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(kept);
  const [words, setWords] = useState<{ language: Language; messages: Messages } | undefined>(() =>
    kept() === "en" ? { language: "en", messages: en } : undefined,
  );

  useEffect(() => {
    let over = false;
    const show = (messages: Messages) => {
      if (over) return;
      document.documentElement.lang = language;
      setWords({ language, messages });
    };
    if (language === "fr") void import("./fr").then(({ fr }) => show(fr));
    else show(en);
    return () => {
      over = true;
    };
  }, [language]);

  const chosen = useMemo<Chosen>(
    () => ({
      language,
      choose: (language) => {
        localStorage.setItem(KEPT, language);
        setLanguage(language);
      },
    }),
    [language],
  );
  if (!words) return null;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <LanguageContext value={chosen}>
      <IntlProvider locale={variety(words.language, navigator.languages)} messages={words.messages} timeZone={zone}>
        {children}
      </IntlProvider>
    </LanguageContext>
  );
}

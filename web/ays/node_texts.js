/**
 * Names and tooltips of our nodes in the user's language, on pages that lose them.
 *
 * The host offers the texts of locales/<language>/nodeDefs.json. Pages of 2025 (1.32 is one) take
 * them first and load their own texts for the language afterwards, in place of all that is there;
 * newer ones add them again. Nothing offers them to extensions, so they are added where the page
 * keeps its texts; should a page keep them elsewhere, its nodes stay English there.
 */

/**
 * Add the texts of our nodes to every language, also to one that the page loads later.
 *
 * @param {Record<string, {nodeDefs?: Record<string, object>}>} offered by language, from /i18n
 */
export function keepNodeTexts(offered) {
  const page = document.getElementById("vue-app")?.__vue_app__;
  const texts = page?._context?.provides?.[page.__VUE_I18N_SYMBOL__]?.global;
  if (!texts?.mergeLocaleMessage) return;

  const add = (language) => {
    const nodes = Object.entries(offered[language]?.nodeDefs ?? {});
    const ours = nodes.filter(([id]) => id.startsWith("AYS"));
    texts.mergeLocaleMessage(language, { nodeDefs: Object.fromEntries(ours) });
  };
  Object.keys(offered).forEach(add);

  const load = texts.setLocaleMessage;
  texts.setLocaleMessage = (language, messages) => {
    load(language, messages);
    add(language);
  };
}
